#!/usr/bin/env bash
#
# check_format.sh
#     Is all C formatted, does each file stay below 600 lines, and does a source
#     name its own place last in its header?
#
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
tools/indent.sh --check || failed=1

for file in $(git ls-files "src/*.[ch]"); do
    sed -n '1,/\*\/$/p' "$file" | grep -qxF " * $file" ||
        { echo "$file: its header does not name it" >&2; failed=1; }
done
while read -r lines file; do
    [ "$file" = total ] || [ "$lines" -le 600 ] ||
        { echo "$file has $lines lines: is it one thing?" >&2; failed=1; }
done < <(git ls-files -- '*.c' '*.h' '*.sql' '*.pl' '*.pm' '*.py' '*.sh' Makefile '*.mk' |
    grep -vE '^expected/' | xargs -r wc -l)
exit "$failed"
