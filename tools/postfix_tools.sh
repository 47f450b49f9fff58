#!/usr/bin/env bash
# postfix_tools.sh: smtp-source and smtp-sink, without a mail server.
#
# The two programs measure what a relay and a sender can do.  Debian ships them
# in the package "postfix", which would turn the machine into a mail server, so
# the package is only unpacked, into build/postfix, and nothing is installed.
# The wrappers there find the package's own libraries.
#
#   tools/postfix_tools.sh      prints the folder with smtp-source and smtp-sink
#
# Safe to repeat; does nothing when the programs are there and run.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
dest=$PWD/build/postfix
wanted=(smtp-source smtp-sink)

usable() {
	local name out
	for name in "${wanted[@]}"; do
		[ -x "$dest/$name" ] || return 1
		# Without arguments they print their usage and fail.
		out=$("$dest/$name" 2>&1 || true)
		[[ $out == *usage* ]] || return 1
	done
}

die() {
	echo "postfix_tools.sh: $*" >&2
	exit 1
}

unpack() {
	local work=$1 log=$1/log deb
	cd "$work"
	# apt gives up its rights to a user that must be able to write here.
	chmod 755 .
	if ! apt-get download -o APT::Sandbox::User=root postfix >"$log" 2>&1; then
		"$OLDPWD/tools/setup.sh" update
		apt-get download -o APT::Sandbox::User=root postfix >"$log" 2>&1 ||
			die "apt-get cannot download postfix: $(tail -n 1 "$log")"
	fi
	deb=$(echo postfix_*.deb)
	dpkg-deb -x "$deb" root
	cd "$OLDPWD"
}

if usable; then
	echo "$dest"
	exit 0
fi
command -v apt-get >/dev/null || die "apt-get is needed to fetch them"
command -v dpkg-deb >/dev/null || die "dpkg-deb is needed to unpack them"

mkdir -p build
work=$(mktemp -d build/postfix.XXXXXX)
trap 'rm -rf "$work"' EXIT
unpack "$PWD/$work"
rm -rf "$dest"
mkdir -p "$dest/lib"
cp -a "$work/root/usr/lib/postfix/." "$dest/lib/"
for name in "${wanted[@]}"; do
	cp "$work/root/usr/sbin/$name" "$dest/lib/$name"
	cat >"$dest/$name" <<'WRAPPER'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec "$here/lib/$(basename "$0")" "$@"
WRAPPER
	chmod 755 "$dest/$name"
done
usable || die "they were unpacked into $dest but do not run: $("$dest/smtp-sink" 2>&1 | head -n 1)"
echo "$dest"
