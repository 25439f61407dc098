#!/bin/sh
# Runs a command with its output in a log file; shows one line while it works and the log's end if it fails.
# usage: logged.sh LOG "what is being done" command...
set -u
log=$1
what=$2
shift 2
echo "$what (log: $log)"
"$@" >"$log" 2>&1 && exit 0
status=$?
echo "error: failed: $what. The end of $log:" >&2
tail -n 30 "$log" >&2
exit $status
