#!/bin/sh
# Runs tests/ape with Ape, first on its built-in provider, then on Anvil at a free port, in a copy of the project below
# build/: Ape unpacks its dependencies into contracts/.cache, where forge and Brownie would compile them as our own. Ape's
# home is there too, so that the user's accounts and packages stay as they are. usage: tools/ape.sh [arguments of `ape test`]
set -eu
cd "$(dirname "$0")/.."
root=$PWD
mkdir -p build
project=$(mktemp -d "$root/build/ape.XXXXXX")
trap 'rm -rf "$project"' EXIT
trap 'exit 130' INT TERM
mkdir "$project/home" "$project/tests"
cp -R ape-config.yaml contracts "$project"
cp -R tests/__init__.py tests/run_parameters.py tests/ape "$project/tests"
rm -rf "$project/contracts/.cache"
ln -s "$root/node_modules" "$project/node_modules"
export HOME="$project/home"
export PATH="$root/node_modules/.bin:$PATH" PYTHONPATH="$project" SOLCX_BINARY_PATH="$root/tools/solc"
cd "$project"

for network in ethereum:local:test ethereum:local:foundry; do
    echo "ape test --network $network"
    "$root/.venv-ape/bin/ape" test tests/ape --network "$network" "$@"
done
