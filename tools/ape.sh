#!/bin/sh
# Runs tests/ape with Ape, first on its built-in provider, then on Anvil at a free port. Ape keeps its packages and accounts
# under the home directory; here it gets a home of its own in build/. usage: tools/ape.sh [arguments of `ape test`]
set -eu
cd "$(dirname "$0")/.."
root=$PWD
export HOME="$root/build/ape-home"
export PATH="$root/node_modules/.bin:$PATH" PYTHONPATH="$root" SOLCX_BINARY_PATH="$root/tools/solc"
# What Ape remembers of dependencies and compilers outlives changes of the versions that it came from.
rm -rf "$HOME" "$root/contracts/.cache"
mkdir -p "$HOME"

for network in ethereum:local:test ethereum:local:foundry; do
    echo "ape test --network $network"
    "$root/.venv-ape/bin/ape" test tests/ape --network "$network" "$@"
done
