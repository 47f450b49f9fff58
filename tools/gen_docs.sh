#!/usr/bin/env bash
# gen_docs.sh: make docs/settings.md and docs/sql.md from a running server, and the
# list of settings in bs_sender(1).
#
# Run it after a change of a setting, a function, a table or a comment, and
# commit what it wrote; test/t/docs.pl fails until then.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
unset "${!PG@}" MAKEFLAGS MAKELEVEL
out=build/docs

if [ "${1-}" != inside ]; then
	tools/setup.sh build
	tools/private_pg.sh >/dev/null
	tools/run_as.sh --own "$out" tools/gen_docs.sh inside
	cp "$out/settings.md" "$out/sql.md" docs/
	# What stands between the two marks of the manual page.
	sed -i -e '/^\.\\" from --help/,/^\.\\" to here/{//!d}' \
		-e '/^\.\\" from --help/r /dev/stdin' src/sender/bs_sender.1 \
		< <(tools/docs/sender.sh man)
	exit
fi

bin=$(find "$PWD/build/pg" -path '*/bin/postgres' -printf '%h' -quit)
work=$(mktemp -d /tmp/bs_docs.XXXXXX)
stop() {
	"$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true
	rm -rf "$work"
}
trap stop EXIT
"$bin/initdb" -D "$work/data" -U postgres -A trust -N --encoding=UTF8 \
	--locale=C.UTF-8 >"$work/log" 2>&1
"$bin/pg_ctl" -D "$work/data" -w -l "$work/log" start -o "-c fsync=off \
	-c listen_addresses='' -c unix_socket_directories='$work' \
	-c shared_preload_libraries=birthday_scheduler" >/dev/null
psql=("$bin/psql" -Xq -h "$work" -U postgres -d postgres)
"${psql[@]}" -c 'CREATE EXTENSION birthday_scheduler'
export BS_TOP=$PWD
for page in settings sql; do
	"${psql[@]}" -f "tools/docs/$page.sql" >"$out/$page.md"
done
