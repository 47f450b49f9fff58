#!/usr/bin/env bash
#
# check_layers.sh
#     Who may include whom, and that src/net is plain C: no server header, none
#     of the server's functions, nothing that ends the process or waits.  src/sender
#     is plain C as well, a program of its own.
#
set -euo pipefail
cd "$(dirname "$0")/.."

# Room: the rooms whose headers it may include, beside its own, the base
# (src/bs_*.h) and net.
declare -A may=(
    [base]=""
    [users]=""
    [planning]=""
    [queue]=""
    [result]="queue"
    [delivery]="queue result"
    [partitions]=""
    [monitoring]=""
)
failed=0

complain() {
    echo "$*" >&2
    failed=1
}

for file in src/*.[ch] src/*/*.[ch]; do
    room=$(dirname "${file#src/}")
    [ "$room" = . ] && room=base
    while read -r header; do
        target=${header%%/*}
        if [ "$room" = net ]; then
            case $header in
                net/*) ;;
                *) complain "$file: src/net includes \"$header\"" ;;
            esac
            continue
        fi
        if [ "$room" = sender ]; then
            case $header in
                net/* | sender/*) ;;
                *) complain "$file: src/sender includes \"$header\"" ;;
            esac
            continue
        fi
        [ -f "src/$header" ] || continue # a header of the server
        case $header in bs_*.h | net/*) continue ;; esac
        [ "$target" = "$room" ] && continue
        case " ${may[$room]:-} " in
            *" $target "*) ;;
            *) complain "$file: room $room may not include \"$header\"" ;;
        esac
    done < <(sed -n 's/^#include "\(.*\)"/\1/p' "$file")
done

# What plain C must not call.
forbidden='abort|exit|_exit|quick_exit|__assert_fail|errstart|errfinish|palloc|pfree|elog_start|ereport|sleep|usleep|nanosleep|poll|select|system|popen|longjmp|siglongjmp'
for object in src/net/*.o; do
    [ -f "$object" ] || { complain "build first: no objects in src/net"; break; }
    called=$(nm -u "$object" | awk '{print $2}' | sed 's/@.*//' | grep -xE "$forbidden" || true)
    [ -z "$called" ] || complain "$object calls ${called//$'\n'/ }"
done

exit "$failed"
