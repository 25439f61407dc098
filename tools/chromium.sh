#!/bin/sh
# Makes sure that /usr/bin/chromium is there, which the browser tests drive: Debian's package, as root or by sudo without a password.
# Run by `make test`. Where it cannot install it, it says so and fails; the browser tests then fail too and name this script.
set -eu

if [ -x /usr/bin/chromium ]; then
	exit 0
fi
if [ "$(id -u)" = 0 ]; then
	root=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
	root='sudo -n'
else
	echo 'Chromium is missing. Install it as root: apt-get install -y chromium' >&2
	exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
	echo 'Chromium is missing and there is no apt-get here: put a Chromium at /usr/bin/chromium.' >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
$root apt-get update
$root apt-get install -y --no-install-recommends chromium fonts-dejavu-core
test -x /usr/bin/chromium
