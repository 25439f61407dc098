#!/bin/sh
# Runs tests/brownie with Brownie, first on its built-in development network (Anvil), then on Ganache 7.
# Brownie keeps networks and compiler data under the home directory and can set a port only there, so it gets a home of
# its own and free ports; the user's networks stay as they are. usage: tools/brownie.sh [arguments of `brownie test`]
set -eu
cd "$(dirname "$0")/.."
root=$PWD
mkdir -p build
# What Ape leaves in the sources' folder when it is run by hand: Brownie would compile it as ours.
rm -rf contracts/.cache
HOME=$(mktemp -d "$root/build/brownie-home.XXXXXX")
trap 'rm -rf "$HOME"' EXIT
trap 'exit 130' INT TERM
export HOME
export PATH="$root/node_modules/.bin:$PATH" PYTHONPATH="$root" SOLCX_BINARY_PATH="$root/tools/solc"
brownie="$root/.venv-brownie/bin/brownie"

free_port() {
    "$root/.venv-brownie/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

"$brownie" networks modify development port="$(free_port)" >/dev/null
# Brownie's own Ganache entry stops at the istanbul rules, which know neither PUSH0 nor a base fee.
"$brownie" networks add development ganache7 host=http://127.0.0.1 cmd=ganache port="$(free_port)" gas_limit=30000000 \
    accounts=10 evm_version=shanghai mnemonic=brownie >/dev/null

for network in development ganache7; do
    echo "brownie test --network $network"
    "$brownie" test --network "$network" "$@"
done
