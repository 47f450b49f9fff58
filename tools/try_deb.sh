#!/usr/bin/env bash
# try_deb.sh: builds the Debian package on a fresh Debian and installs it on another.
#
#   tools/try_deb.sh [SERVER...]     "make deb-test" calls it; needs root
#
# For each server that is supported, or those that are named, on the Debian that ships
# it.  A Debian is a folder below build/, made by mmdebstrap.  In the first, with git
# and make alone, "make deb" makes the package.  In the second, with a server and no
# build tools, apt installs the package with what it depends on, its own test
# (debian/tests) runs, and it goes again without a trace.  Some five minutes a server;
# nothing of this machine is changed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/supported.sh
. tools/roots.sh
umask 022
# A question to a terminal would stop what runs in the background.
exec </dev/null
export DEBIAN_FRONTEND=noninteractive

die() {
	echo "try_deb.sh: $*" >&2
	exit 1
}

[ "$(id -u)" = 0 ] || die "root is needed"
for program in mmdebstrap unshare; do
	command -v "$program" >/dev/null || die "no $program; run tools/setup.sh image"
done
[ $# -gt 0 ] || set -- "${supported_servers[@]}"
for server in "$@"; do
	[[ " ${supported_servers[*]} " == *" $server "* ]] ||
		die "server $server is not supported: ${supported_servers[*]} are"
done

log=build/try_deb.log
passed=0 failed=0
mkdir -p build
work=$(mktemp -d "$PWD/build/debian.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 143' INT TERM HUP
: >"$log"

check() {
	local what=$1
	shift
	if "$@" >>"$log" 2>&1; then
		passed=$((passed + 1))
		echo "ok - $what"
	else
		failed=$((failed + 1))
		echo "not ok - $what"
		tail -n 40 "$log" >&2
		return 1
	fi
}

quiet() {
	[ -z "$("$@")" ]
}

# build SUITE SERVER: the package, on a Debian that knows of no compiler, to $work.
build() {
	local root=$work/build
	make_debian "$1" "$root" git,make,ca-certificates || return
	copy_tree "$root" || return
	in_root "$root" make -s -C /birthday_scheduler deb || {
		tail -n 40 "$root/birthday_scheduler/build/deb.log"
		return 1
	}
	mv "$root/birthday_scheduler/build/deb/postgresql-$2-birthday-scheduler"_*.deb "$work"
	rm -rf --one-file-system "$root"
}

# make_target SUITE SERVER: a Debian with a server and no cluster.
# shellcheck disable=SC2016  # the hooks are for another shell
make_target() {
	make_debian "$1" "$root" postgresql-common \
		--customize-hook='echo "create_main_cluster = false" >>"$1/etc/postgresql-common/createcluster.conf"' \
		--customize-hook="chroot \"\$1\" apt-get -o Dpkg::Use-Pty=0 install -qq -y --no-install-recommends postgresql-$2"
}

# The server must have what the library uses, and minor releases differ in that.
# shellcheck disable=SC2016  # the format is dpkg's
asks_for_minor_release() {
	local minor depends
	minor=$(chroot "$root" dpkg-query -W -f '${Version}' "postgresql-$server")
	depends=$(dpkg-deb -f "$package" Depends)
	echo "server $minor, depends on $depends"
	[[ "$depends," == *" postgresql-$server (>> ${minor%-*}),"* ]]
}

# shellcheck disable=SC2016  # the inner shells' own words
try() {
	local server=$1 suite package root=$work/root
	suite=$(suite_of "$server")
	echo "== server $server: the package, made on a fresh $suite" | tee -a "$log"
	check "make deb makes it where git and make are all that is there" build "$suite" "$server" ||
		return
	package=$(compgen -G "$work/postgresql-$server-*.deb")
	echo "== server $server: a $suite with a server" | tee -a "$log"
	make_target "$suite" "$server" >>"$log" 2>&1 || {
		tail -n 40 "$log" >&2
		die "there is no $suite with a server $server"
	}
	cp "$package" debian/tests/create-extension "$root/root/"
	check "apt installs it with what it depends on" in_root "$root" sh -c '
		apt-get -qq update &&
		apt-get -o Dpkg::Use-Pty=0 install -qq -y --no-install-recommends /root/*.deb &&
		dpkg -s "$0" | grep "^Status: install ok installed"' "postgresql-$server-birthday-scheduler" ||
		return
	check "it asks for the server's minor release" asks_for_minor_release
	check "without build tools" quiet find "$root/usr/bin" -name '*gcc*' -o -name make -o -name 'clang*'
	check "every library is found" lonely_in_root "$root" sh -c '
		ldd "/usr/lib/postgresql/$0/lib/birthday_scheduler.so" >/tmp/libraries &&
		! grep "not found" /tmp/libraries' "$server"
	check "the extension works in a server made for it" lonely_in_root "$root" sh -c \
		'sh /root/create-extension >/tmp/said; cat /tmp/said; grep -qx "all is well" /tmp/said'
	check "the documents are there" [ -f "$root/usr/share/doc/postgresql-$server-birthday-scheduler/docs/settings.md" ]
	check "it can be removed" in_root "$root" dpkg --purge "postgresql-$server-birthday-scheduler"
	check "and leaves nothing" quiet in_root "$root" \
		find /usr /etc /var/lib/postgresql -path '*birthday*'
}

for server in "$@"; do
	try "$server" || true
	rm -rf --one-file-system "${work:?}"/*
done
echo "log: $log"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
