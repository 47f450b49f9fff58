#!/usr/bin/env bash
#
# check_hardening.sh
#     Library and bs_sender are built as Debian builds: read-only relocations, all
#     names bound at start, no executable stack, guarded frames; and call no function of
#     the C library that cannot be called safely, nor a shell.
#
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
complain() {
    echo "$file: $*" >&2
    failed=1
}

for file in birthday_scheduler.so bs_sender; do
    [ -f "$file" ] || { echo "$0: build $file first" >&2; exit 1; }
    segments=$(readelf -lW "$file")
    dynamic=$(readelf -dW "$file")
    imports=$(nm -D --undefined-only "$file" | sed 's/.* U //; s/@.*//')

    grep -q GNU_RELRO <<<"$segments" || complain "relocations stay writable (no RELRO)"
    grep -q 'BIND_NOW\|FLAGS.*NOW' <<<"$dynamic" || complain "names are bound late (no BIND_NOW)"
    grep -q 'GNU_STACK .*RW ' <<<"$segments" || complain "the stack is executable"
    if grep -q 'LOAD .*RWE' <<<"$segments"; then complain "a segment can be written and run"; fi
    if grep -qE 'TEXTREL|RPATH|RUNPATH' <<<"$dynamic"; then complain "TEXTREL, RPATH or RUNPATH"; fi
    grep -qx '__stack_chk_fail' <<<"$imports" || complain "frames are not guarded"

    unsafe=$(grep -xE 'gets|strcpy|strcat|sprintf|vsprintf|__(str(cpy|cat)|v?sprintf)_chk|tmpnam|mktemp|system|popen|exec.*|abort|exit|_exit' <<<"$imports" || true)
    [ -z "$unsafe" ] || complain "calls ${unsafe//$'\n'/ }"
done

exit "$failed"
