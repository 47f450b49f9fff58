#!/usr/bin/env bash
#
# check_layers.sh
#     Which room may include which; that no files need each other in a circle; and
#     that src/core is plain C: no server header, none of the server's functions,
#     nothing that ends the process or waits.
#
set -euo pipefail
cd "$(dirname "$0")/.."

# Room: the rooms whose headers it may include, beside its own.
core="core/base core/text core/mime core/mail core/amqp core/sending"
declare -A may=(
    [core/base]=""
    [core/text]="core/base"
    [core/mime]="core/base core/text"
    [core/mail]="core/base core/text core/mime"
    [core/amqp]="core/base core/text"
    [core/sending]="$core"
    [sender]="$core"
    [server/base]="$core"
    [server/users]="$core server/base"
    [server/planning]="$core server/base server/queue"
    [server/queue]="$core server/base"
    [server/result]="$core server/base server/queue"
    [server/delivery]="$core server/base server/queue server/result"
    [server/partitions]="$core server/base"
    [server/monitoring]="$core server/base"
)
failed=0

complain() {
    echo "$*" >&2
    failed=1
}

while read -r file; do
    room=$(dirname "${file#src/}")
    [ -n "${may[$room]+x}" ] || { complain "$file: there is no room $room"; continue; }
    while read -r header; do
        if [ ! -f "src/$header" ]; then # a header of the server
            case $room in
                server/*) ;;
                *) complain "$file: room $room includes \"$header\"" ;;
            esac
            continue
        fi
        target=$(dirname "$header")
        case " $room ${may[$room]} " in
            *" $target "*) ;;
            *) complain "$file: room $room may not include \"$header\"" ;;
        esac
    done < <(sed -n 's/^#include "\(.*\)"/\1/p' "$file")
done < <(find src -name '*.[ch]' | sort)

# What plain C must not call.
forbidden='abort|exit|_exit|quick_exit|__assert_fail|errstart|errfinish|palloc|pfree|elog_start|ereport|sleep|usleep|nanosleep|poll|select|system|popen|longjmp|siglongjmp'
for object in src/core/*/*.o; do
    [ -f "$object" ] || { complain "build first: no objects in src/core"; break; }
    called=$(nm -u "$object" | awk '{print $2}' | sed 's/@.*//' | grep -xE "$forbidden" || true)
    [ -z "$called" ] || complain "$object calls ${called//$'\n'/ }"
done

# A file needs another if it uses a symbol that the other defines.
mapfile -t objects < <(find src -name '*.c' | sed 's/c$/o/' | xargs ls 2>/dev/null)
nm -A "${objects[@]}" | awk '
    { file = $1; sub(/:.*/, "", file); kind = $(NF - 1) }
    kind == "U" { uses[file, $NF] }
    kind ~ /^[A-Z]$/ && kind != "U" { home[$NF] = file }
    END {
        for (use in uses) {
            split(use, part, SUBSEP)
            to = home[part[2]]
            if (to != "" && to != part[1])
                print part[1], to
        }
    }' | tsort >/dev/null || complain "the files above need each other in a circle"

exit "$failed"
