#!/usr/bin/env bash
# Run a command and write its exit code to FOLDER/code; send it SIGTERM as soon as FOLDER/stop is there.
#   stoppable.sh FOLDER COMMAND [ARGUMENTS]
set -euo pipefail
(($# >= 2)) || { echo "usage: stoppable.sh FOLDER COMMAND [ARGUMENTS]" >&2; exit 2; }
folder=$1
shift

"$@" &
child=$!
(
    until [[ -e $folder/stop ]]; do sleep 1; done
    kill -TERM "$child"
) &
watcher=$!
code=0
wait "$child" || code=$?
kill "$watcher" 2>/dev/null || true
echo "$code" >"$folder/code.new"
mv "$folder/code.new" "$folder/code"
exit "$code"
