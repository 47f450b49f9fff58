#!/usr/bin/env bash
#
# indent.sh [--check]
#     Formats all C as PostgreSQL itself is formatted, with pg_bsd_indent and the
#     list of our type names; with --check only says what is not.
#
set -euo pipefail
cd "$(dirname "$0")/.."

# A package of its own for server 15, part of the server's headers since 16.
PATH=$PATH:$("${PG_CONFIG:-pg_config}" --bindir)
command -v pg_bsd_indent >/dev/null ||
    { echo "$0: pg_bsd_indent is missing; run tools/setup.sh" >&2; exit 1; }

options=(-bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1 -i4 -l79
    -lp -lpl -nip -npro -sac -tpg -ts4)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
tools/typedefs.sh plain >"$work/plain"
tools/typedefs.sh server >"$work/server"

# As the server's pgindent does it: comments that begin with dashes are left as
# they are, and a pointer that a function returns has a single space before "*".
before='s!/\* +---!/*---X_X!g'
after='s!/\*---X_X!/* ---!g; s!^([A-Za-z_][^[:space:]]*)[[:space:]]+\*$!\1 *!'

for file in src/*/*.[ch] src/*/*/*.[ch] test/unit/*.[ch] test/fuzz/*.[ch] \
    test/bench/*.[ch]; do
    [ -f "$file" ] || continue
    case $file in
        src/core/* | src/sender/* | test/*) types=plain ;;
        *) types=server ;;
    esac
    sed -E "$before" "$file" >"$work/in.c"
    (cd "$work" && pg_bsd_indent in.c out.c "${options[@]}" "-U$types" >log 2>&1) ||
        { echo "$file: $(cat "$work/log")" >&2; failed=1; continue; }
    sed -i -E "$after" "$work/out.c"
    cmp -s "$file" "$work/out.c" && continue
    if [ "${1-}" = --check ]; then
        echo "$file is not formatted; run make format" >&2
        diff -u --label "$file" --label formatted "$file" "$work/out.c" | head -20 >&2
        failed=1
    else
        cat "$work/out.c" >"$file"
    fi
done
exit "$failed"
