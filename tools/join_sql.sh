#!/usr/bin/env bash
#
# join_sql.sh EXTENSION OUTPUT
#     Joins sql/modules/*.sql into the install script, in the order of
#     sql/install.list; fails where list and folder differ.
#
set -euo pipefail
cd "$(dirname "$0")/.."

extension=$1
output=$2
modules=$(sed 's/#.*//; /^[[:space:]]*$/d' sql/install.list)

if ! diff <(sort <<<"$modules") <(cd sql/modules && printf '%s\n' *.sql | sort) >&2; then
    echo "$0: sql/install.list and sql/modules/ differ, see above" >&2
    exit 1
fi

{
    echo "-- $extension: made by tools/join_sql.sh from sql/modules/; edit those."
    printf '\\echo Use "CREATE EXTENSION %s" to load this file. \\quit\n' "$extension"
    # Names and operators mean the server's, whatever others have put into the
    # schema that the extension is created in.
    printf '\nSET LOCAL search_path = pg_catalog, pg_temp;\n'
    # Refuses a schema whose owner could put other objects in the place of ours
    # (src/server/base/bs_schema.c); before anything of that schema is used.
    printf "LOAD 'MODULE_PATHNAME';\nSET LOCAL birthday_scheduler.schema = '@extschema@';\n"
    for module in $modules; do
        printf '\n'
        cat "sql/modules/$module"
    done
} >"$output.tmp"
mv "$output.tmp" "$output"
