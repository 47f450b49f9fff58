#!/usr/bin/env bash
# build_copy.sh: a second build, in a folder below build/.
#
#   tools/build_copy.sh DIR
#
# The sources are copied there and built, with what FAILPOINTS and PG_CONFIG say, and
# a server like that of tools/private_pg.sh is made, which loads that library; the
# build in the tree itself stays as it is.  Prints the folder of the server's programs.
# Quick when nothing changed.
set -euo pipefail

dest=${1?where to?}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
parts=(Makefile META.json birthday_scheduler.control sql src tools)

mkdir -p "$dest"
# Times are kept, so that make sees what changed.
tar -c --exclude='*.o' --exclude='*.bc' "${parts[@]}" | tar -x -C "$dest"
(cd "$dest" && find src sql -type f -name '*.[chsq]*' ! -name '*.o') |
	while read -r file; do
		[ -e "$file" ] || rm -f "$dest/$file" "$dest/${file%.c}.o"
	done
unset MAKEFLAGS MAKELEVEL
make -s --no-print-directory -j"$(nproc)" -C "$dest" all >&2
exec "$dest/tools/private_pg.sh"
