#!/usr/bin/env bash
#
# indent.sh [--check]
#     Formats all C as PostgreSQL itself is formatted, with pg_bsd_indent and the
#     list of our type names; with --check only says what is not.
#
set -euo pipefail
cd "$(dirname "$0")/.."

command -v pg_bsd_indent >/dev/null ||
    { echo "$0: pg_bsd_indent is missing; run tools/setup.sh" >&2; exit 1; }

options=(-bad -bap -bbb -bc -bl -cli1 -cp33 -cdb -nce -d0 -di12 -nfc1 -i4 -l79
    -lp -lpl -nip -npro -sac -tpg -ts4 "-U$PWD/tools/typedefs.list")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

for file in src/*.[ch] src/*/*.[ch] test/unit/*.[ch] test/fuzz/*.[ch]; do
    [ -f "$file" ] || continue
    # As the server's own pgindent does: "extern C" blocks aside, comments that
    # begin with a row of dashes are left alone by their "-" (see -cdb).
    cp "$file" "$work/in.c"
    (cd "$work" && pg_bsd_indent in.c out.c "${options[@]}" >log 2>&1) ||
        { echo "$file: $(cat "$work/log")" >&2; failed=1; continue; }
    cmp -s "$file" "$work/out.c" && continue
    if [ "${1-}" = --check ]; then
        echo "$file is not formatted; run make format" >&2
        diff -u "$file" "$work/out.c" | head -20 >&2
        failed=1
    else
        cat "$work/out.c" >"$file"
    fi
done
exit "$failed"
