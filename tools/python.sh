#!/bin/sh
# Prints the path of a Python 3.11 or newer that can make virtual environments, or says what is missing and how to
# get it. PYTHON=... in the environment chooses one. 3.11 comes first: constraints.txt was resolved for it.
set -eu
for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13 python}; do
    # A shim of a version manager may exist and yet start nothing, so each candidate is run.
    if found=$("$candidate" -c '
import sys
assert sys.version_info >= (3, 11)
print(sys.executable)' 2>/dev/null); then
        if "$found" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$found"
            exit 0
        fi
        without_venv=$found
    fi
done
if [ -n "${without_venv:-}" ]; then
    echo "error: $without_venv cannot make virtual environments: its venv or ensurepip module is missing." >&2
    echo "       On Debian and Ubuntu: apt-get install python3-venv" >&2
else
    echo "error: no Python 3.11 or newer was found (looked for: ${PYTHON:-python3.11 python3 python3.12 python3.13 python})." >&2
    echo "       On Debian 12: apt-get install python3 python3-venv; or name one: make PYTHON=/path/to/python3.11" >&2
fi
exit 1
