#!/usr/bin/env bash
#
# check_exports.sh
#     Every symbol that the library shows begins with bs_, beside what the server
#     asks for.
#
set -euo pipefail
cd "$(dirname "$0")/.."

library=birthday_scheduler.so
[ -f "$library" ] || { echo "$0: build $library first" >&2; exit 1; }

strange=$(nm -D --defined-only "$library" | awk '{print $3}' |
    grep -vE '^(bs_|pg_finfo_bs_|Pg_magic_func$|_PG_init$)' || true)
if [ -n "$strange" ]; then
    echo "$library shows symbols that do not begin with bs_:" >&2
    echo "$strange" >&2
    exit 1
fi
