#!/usr/bin/env bash
# run_as.sh: run a command as somebody who may start a PostgreSQL server.
#
#   tools/run_as.sh [--own DIR]... COMMAND [ARGUMENT...]
#
# The server refuses to run as root.  An ordinary user is that somebody already:
# the command simply runs.  For root it runs as the user "postgres", or "nobody"
# where there is none, without root's rights, with HOME in the tree.
#
# --own names a folder of the tree (below build/) that the command writes to; it
# is made if need be and given to that user.  The rest of the tree it only
# reads.  Where it cannot read all of it, as below /root or after a clone with a
# strict umask, the command works in a copy below /tmp instead: a copy needs no
# rights that a container may lack (as a bind mount would) and nothing about the
# original changes.  The folders of --own are brought back at the end.
#
# The command starts in the top folder of the tree or its copy.  Its exit code
# is ours.
#
#   tools/run_as.sh --check
#
# Runs nothing; the exit code is 0 where a command would work in the tree itself
# and 1 where it would work in a copy.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
own=()
check=

die() {
	echo "run_as.sh: $*" >&2
	exit 1
}

while [ $# -gt 0 ]; do
	case $1 in
	--own)
		[[ ${2-} == build/* ]] || die "--own takes a folder below build/"
		own+=("$2")
		shift 2
		;;
	--check)
		check=yes
		shift
		;;
	--) shift && break ;;
	-*) die "unknown argument: $1" ;;
	*) break ;;
	esac
done
[ $# -gt 0 ] || [ -n "$check" ] || die "which command?"

if [ "$(id -u)" != 0 ]; then
	[ -z "$check" ] || exit 0
	[ ${#own[@]} -eq 0 ] || mkdir -p "${own[@]}"
	exec "$@"
fi

user=nobody
! id postgres >/dev/null 2>&1 || user=postgres

# The start of a command line that gives up root, for the tree at $1.  root's
# environment would lead to places that the user cannot see.
set_as_user() {
	as_user=(env -u TMPDIR -u XDG_RUNTIME_DIR -u XDG_CONFIG_HOME
		-u XDG_CACHE_HOME HOME="$1/build/home" USER="$user" LOGNAME="$user"
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
		setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups
		--inh-caps=-all)
}

# Can the user read and enter everything?  The build's own debris aside.
readable() {
	local found
	local folder pruned=(-path "$PWD/.git")
	for folder in "${other_roots[@]}"; do
		pruned+=(-o -path "$PWD/$folder")
	done
	found=$("${as_user[@]}" find "$PWD" \( "${pruned[@]}" \) -prune -o \
		\( ! -readable -o -type d ! -executable \) -print -quit \
		2>&1) && [ -z "$found" ]
}

# Roots of other Debians are no part of the tree.
other_roots=(build/roots 'build/debian.*' 'build/image.*')

give_folders() {
	(cd "$1" && mkdir -p build/home "${own[@]}" &&
		chown -R "$user:" build/home "${own[@]}")
}

set_as_user "$PWD"
give_folders .
if [ -n "$check" ]; then
	readable
	exit
fi
if readable; then
	exec "${as_user[@]}" "$@"
fi

copy=
child=
# shellcheck disable=SC2317  # the trap calls it
finish() {
	local code=$?
	trap - EXIT
	for folder in "${own[@]}"; do
		[ -d "$copy/$folder" ] || continue
		rm -rf "$folder"
		cp -a --no-preserve=ownership "$copy/$folder" "$folder" || code=1
	done
	rm -rf "$copy"
	exit "$code"
}

copy=$(mktemp -d /tmp/birthday_scheduler.XXXXXX)
trap finish EXIT
# A signal reaches the command as TERM; then its end is waited for.
trap 'kill "$child" 2>/dev/null || true' INT TERM HUP
# 1: a file changed meanwhile
{ tar -c --exclude=./.git "${other_roots[@]/#/--exclude=./}" . || [ $? = 1 ]; } |
	tar -x -C "$copy"
chmod -R u+rwX,a+rX "$copy"
give_folders "$copy"
set_as_user "$copy"
(cd "$copy" && exec "${as_user[@]}" "$@") <&0 &
child=$!
code=0
while kill -0 "$child" 2>/dev/null; do
	code=0
	wait "$child" || code=$?
done
exit "$code"
