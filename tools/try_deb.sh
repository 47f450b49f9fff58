#!/usr/bin/env bash
# try_deb.sh: builds the Debian package and installs it on a fresh Debian 12.
#
#   tools/try_deb.sh       "make deb-test" calls it; needs root
#
# The Debian is a folder below build/, made by mmdebstrap with a server and no
# build tools.  There apt installs the package with what it depends on, its own
# test (debian/tests) runs in it, and it goes again without a trace.  One to three
# minutes; nothing of this machine is changed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
# A question to a terminal would stop what runs in the background.
exec </dev/null
export DEBIAN_FRONTEND=noninteractive
[ "$(id -u)" = 0 ] || { echo "try_deb.sh: root is needed" >&2 && exit 1; }
for program in mmdebstrap unshare; do
	command -v "$program" >/dev/null || {
		echo "try_deb.sh: no $program; run tools/setup.sh deb image" >&2
		exit 1
	}
done

log=build/try_deb.log
passed=0 failed=0

check() {
	local what=$1
	shift
	if "$@" >>"$log" 2>&1; then
		passed=$((passed + 1))
		echo "ok - $what"
	else
		failed=$((failed + 1))
		echo "not ok - $what"
	fi
}

# in_root COMMAND...: with a network and processes of its own, which end with it
in_root() {
	# shellcheck disable=SC2016  # the inner shell's own words
	unshare --mount --pid --net --fork --kill-child sh -c '
		ip link set lo up
		mount -t proc proc "$0/proc"
		mount -t devtmpfs dev "$0/dev" 2>/dev/null || mount --rbind /dev "$0/dev"
		mount -t tmpfs shm "$0/dev/shm"
		exec chroot "$0" env -i HOME=/root LC_ALL=C.UTF-8 \
			PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"' "$root" "$@"
}

quiet() {
	[ -z "$("$@")" ]
}

echo "== the package"
package=$(tools/deb.sh)
echo "$package"
: >"$log"
work=$(mktemp -d "$PWD/build/debian.XXXXXX")
root=$work/root
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 143' INT TERM HUP

echo "== a Debian with a server"
# shellcheck disable=SC2016  # the hooks are for another shell
mmdebstrap --quiet --aptopt='Dpkg::Use-Pty "0"' --variant=minbase --include=postgresql-common \
	--customize-hook='echo "create_main_cluster = false" >>"$1/etc/postgresql-common/createcluster.conf"' \
	--customize-hook='chroot "$1" apt-get -o Dpkg::Use-Pty=0 install -qq -y --no-install-recommends postgresql-15' \
	--customize-hook="copy-in $package /root" \
	--customize-hook='chroot "$1" find / -xdev -path "*birthday*" -not -path "/root/*" >"$1/root/before"' \
	--customize-hook='chroot "$1" sh -c "apt-get -o Dpkg::Use-Pty=0 install -qq -y --no-install-recommends /root/*.deb && dpkg -s postgresql-15-birthday-scheduler"' \
	bookworm "$root" >>"$log" 2>&1 || {
	tail -n 40 "$log" >&2
	echo "try_deb.sh: the package could not be installed" >&2
	exit 1
}
cp debian/tests/create-extension "$root/root/"

echo "== in it"
check "apt installed it with what it depends on" \
	grep -q '^Status: install ok installed' "$log"
check "without build tools" quiet find "$root/usr/bin" -name '*gcc*' -o -name make -o -name clang*
check "every library is found" quiet in_root sh -c \
	'ldd /usr/lib/postgresql/15/lib/birthday_scheduler.so | grep "not found"'
check "the extension works in a server made for it" in_root sh /root/create-extension
check "and said so" grep -q '^all is well' "$log"
check "the documents are there" [ -f "$root/usr/share/doc/postgresql-15-birthday-scheduler/docs/settings.md" ]
check "it can be removed" in_root dpkg --purge postgresql-15-birthday-scheduler
check "and leaves nothing" quiet find "$root/usr" "$root/etc" "$root/var/lib/postgresql" -path '*birthday*'

[ "$failed" = 0 ] || tail -n 40 "$log" >&2
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
