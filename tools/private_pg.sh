#!/usr/bin/env bash
# private_pg.sh: a PostgreSQL of our own in build/pg, with the extension in it.
#
# A server loads extensions only from its own folders, and tests and the demo
# shall not touch those of the machine.  PostgreSQL finds its files relative to
# the program that runs, so a tree with the same layout somewhere else is a
# server of its own: the programs are copied (a link would lead back to the
# original), everything else is linked, and folders that "make install" writes to
# are real.  Nothing of the machine's installation can be changed through it.
# Settings do not replace it: Debian's extension_destdir (15 to 17) is not used for
# shared_preload_libraries, extension_control_path exists from 18 on, a server that is not
# Debian's has neither before 18, and valgrind needs a copy of the programs anyway.
#
#   bin=$(tools/private_pg.sh)     makes or refreshes it, installs the extension,
#                                  prints the folder of the programs
#   tools/private_pg.sh --valgrind makes build/pg-valgrind instead, whose server
#                                  runs under valgrind (tools/valgrind_postgres.sh)
#
# PG_CONFIG chooses the server to copy.  Quick when nothing changed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
pg_config=${PG_CONFIG:-pg_config}
dest=$PWD/build/pg
name=birthday_scheduler

die() {
	echo "private_pg.sh: $*" >&2
	exit 1
}

case $* in
'') ;;
--valgrind) dest=$PWD/build/pg-valgrind ;;
*) die "unknown argument: $*" ;;
esac
command -v "$pg_config" >/dev/null || die "no $pg_config; run tools/setup.sh"
bindir=$("$pg_config" --bindir)
sharedir=$("$pg_config" --sharedir)
pkglibdir=$("$pg_config" --pkglibdir)
[ -x "$bindir/postgres" ] || die "no server in $bindir; run tools/setup.sh"

# Links to all that is in a folder but the extension's own files; the folders
# named after that become real ones, filled in the same way.
mirror() {
	local from=$1 to=$2 entry base
	local links=()
	shift 2
	mkdir -p "$to"
	for entry in "$from"/*; do
		base=${entry##*/}
		case " $* " in
		*" $base "*) mirror "$entry" "$to/$base" ;;
		*) [[ $base == "$name"* ]] || links+=("$entry") ;;
		esac
	done
	ln -s -t "$to" -- "${links[@]}"
}

stamp() {
	[ "$dest" = "$PWD/build/pg" ] || cat tools/valgrind_postgres.sh
	"$pg_config" --version
	stat -c '%n %Z' "$bindir" "$bindir/postgres" "$pkglibdir" \
		"$sharedir" "$sharedir/extension"
}

build() {
	local new=$dest.new
	rm -rf "$new"
	mkdir -p "$new$bindir"
	cp -pL "$bindir"/* "$new$bindir/"
	if [ "$dest" != "$PWD/build/pg" ]; then
		mv "$new$bindir/postgres" "$new$bindir/postgres.real"
		cp tools/valgrind_postgres.sh "$new$bindir/postgres"
	fi
	chmod -R a+rX "$new$bindir"
	mirror "$pkglibdir" "$new$pkglibdir" bitcode
	mirror "$sharedir" "$new$sharedir" extension
	stamp >"$new/stamp"
	rm -rf "$dest"
	mv "$new" "$dest"
}

install_extension() {
	local log marker=$dest/installed
	touch "$marker"
	if ! log=$(make -s --no-print-directory install DESTDIR="$dest" \
		PG_CONFIG="$pg_config" SENDER_PREFIX="${bindir%/*}" 2>&1); then
		printf '%s\n' "$log" >&2
		die "make install failed"
	fi
	# What an earlier version brought and this one does not.
	find "$dest$pkglibdir" "$dest$sharedir/extension" -name "$name*" \
		-type f ! -newer "$marker" -delete
}

mkdir -p build
if [ ! -f "$dest/stamp" ] || [ "$(stamp)" != "$(cat "$dest/stamp")" ]; then
	build
fi
unset MAKEFLAGS MAKELEVEL
install_extension
echo "$dest$bindir"
