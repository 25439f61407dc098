#!/bin/sh
# Succeeds if Node 20 or newer and npm are on the PATH; otherwise says what is missing and how to get it.
set -eu
if ! command -v node >/dev/null 2>&1; then
    echo "error: node was not found. The local chains and the Solidity compiler run on Node 20 or newer: install it from your system or nodejs.org." >&2
    exit 1
fi
version=$(node --version)
major=${version#v}
major=${major%%.*}
if [ "$major" -lt 20 ]; then
    echo "error: node is $version; 20 or newer is needed. Put a newer one first on the PATH." >&2
    exit 1
fi
if ! command -v npm >/dev/null 2>&1; then
    echo "error: npm was not found next to node $version: install it (on Debian: apt-get install npm)." >&2
    exit 1
fi
