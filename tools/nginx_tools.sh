#!/usr/bin/env bash
# nginx_tools.sh: nginx, without a web server.
#
# The benchmark's mail API is an nginx that answers 202 to everything.  Debian's
# package would start a web server at every boot, so it is only unpacked, into
# build/nginx, and nothing is installed.
#
#   tools/nginx_tools.sh      prints the folder with nginx
#
# Safe to repeat; does nothing when the program is there and runs.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
dest=$PWD/build/nginx

die() {
	echo "nginx_tools.sh: $*" >&2
	exit 1
}

usable() {
	[ -x "$dest/nginx" ] && "$dest/nginx" -v >/dev/null 2>&1
}

if usable; then
	echo "$dest"
	exit 0
fi
command -v apt-get >/dev/null || die "apt-get is needed to fetch it"
command -v dpkg-deb >/dev/null || die "dpkg-deb is needed to unpack it"

mkdir -p build
work=$(mktemp -d build/nginx.XXXXXX)
trap 'rm -rf "$work"' EXIT
# apt gives up its rights to a user that must be able to write here.
chmod 755 "$work"
download() {
	(cd "$work" && apt-get download -o APT::Sandbox::User=root nginx >log 2>&1)
}
download || { tools/setup.sh update && download; } ||
	die "apt-get cannot download nginx: $(tail -n 1 "$work/log")"
dpkg-deb -x "$work"/nginx_*.deb "$work/root"
mkdir -p "$dest"
cp "$work/root/usr/sbin/nginx" "$dest/nginx"
usable || die "it was unpacked into $dest but does not run: $("$dest/nginx" -v 2>&1 | head -n 1)"
echo "$dest"
