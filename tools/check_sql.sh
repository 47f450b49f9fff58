#!/usr/bin/env bash
#
# check_sql.sh
#     The install script keeps others' objects out (tools/check_sql.py), and each of
#     the rules finds what it is for.
#
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n "s/^default_version = '\(.*\)'/\1/p" birthday_scheduler.control)
script=sql/birthday_scheduler--$version.sql
[ -f "$script" ] || { echo "build first: no $script" >&2 && exit 1; }
tools/check_sql.py "$script"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# finds WORDS < SQL
finds() {
    cat >"$work/bad.sql"
    if tools/check_sql.py "$work/bad.sql" 2>"$work/said" || ! grep -qF -- "$1" "$work/said"; then
        echo "tools/check_sql.py does not say \"$1\" of:" >&2
        cat "$work/bad.sql" "$work/said" >&2
        failed=1
    fi
}
head="CREATE FUNCTION @extschema@.bs_x(part text)
RETURNS void
LANGUAGE plpgsql"
safe="SET search_path = pg_catalog, pg_temp
SET birthday_scheduler.schema = '@extschema@'"

finds 'OR REPLACE' <<<"CREATE OR REPLACE VIEW @extschema@.x AS SELECT 1;"
finds 'IF NOT EXISTS' <<<"CREATE TABLE IF NOT EXISTS @extschema@.x (y integer);"
finds 'not qualified by' <<<"CREATE TABLE x (y integer);"
finds 'does not pin its search_path' <<<"$head AS \$\$BEGIN END\$\$;"
finds 'lacks the guard' <<<"$head
SET search_path = pg_catalog, pg_temp
AS \$\$BEGIN END\$\$;"
finds 'lacks the guard' <<<"CREATE FUNCTION @extschema@.bs_x() RETURNS integer LANGUAGE sql SECURITY DEFINER
RETURN 1;"
finds 'unknown language' <<<"CREATE FUNCTION @extschema@.bs_x() RETURNS integer LANGUAGE plperlu
AS \$\$1\$\$;"
finds '%s takes "name"' <<<"$head
$safe
AS \$\$BEGIN EXECUTE format('DROP TABLE %s', name); END\$\$;"
finds '%s takes "b"' <<<"$head
$safe
AS \$\$BEGIN EXECUTE format('SELECT %1\$I, %2\$s', a, b); END\$\$;"
finds 'of a DO block is not qualified' <<<"DO \$\$BEGIN IF 1 = 2 THEN NULL; END IF; END\$\$;"
finds 'has a backslash' <<<"SELECT 'a\\d';"
exit "$failed"
