#!/bin/sh
# Runs the native forge out of node_modules. npm's own launcher (node_modules/.bin/forge) ends with status 0 whatever forge
# ends with, so failing tests would pass unnoticed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
for forge in "$root"/node_modules/@foundry-rs/forge-*/bin/forge "$root"/node_modules/@foundry-rs/forge-*/bin/forge.exe; do
    if [ -x "$forge" ]; then exec "$forge" "$@"; fi
done
echo "error: no forge in node_modules: run 'make setup'." >&2
exit 1
