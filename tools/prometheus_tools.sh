#!/usr/bin/env bash
# prometheus_tools.sh: Prometheus, promtool and the exporter, without services.
#
# Debian's packages would start them and enable them for every boot to come, so
# they are only unpacked, into build/prometheus, and nothing is installed.
#
#   tools/prometheus_tools.sh     prints the folder with prometheus, promtool and
#                                 prometheus-postgres-exporter, and in root/ with the
#                                 packages' files below /etc and their units
#
# Safe to repeat; does nothing when all is there and runs.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
dest=$PWD/build/prometheus
packages=(prometheus prometheus-postgres-exporter)
programs=(prometheus promtool prometheus-postgres-exporter)

die() {
	echo "prometheus_tools.sh: $*" >&2
	exit 1
}

# Since Debian 13 promtool is a package of its own.
[ -z "$(apt-cache show promtool 2>/dev/null)" ] || packages+=(promtool)

usable() {
	local name
	for name in "${programs[@]}"; do
		"$dest/$name" --version >/dev/null 2>&1 || return 1
	done
	for name in prometheus prometheus-postgres-exporter; do
		[ -f "$dest/root/etc/default/$name" ] || return 1
	done
}

download() {
	apt-get download -o APT::Sandbox::User=root "${packages[@]}" >log 2>&1
}

# unpack DIR: all packages into DIR/root
unpack() {
	local deb
	cd "$1"
	if ! download; then
		"$OLDPWD/tools/setup.sh" update
		download || die "apt-get cannot download them: $(tail -n 1 log)"
	fi
	for deb in *.deb; do
		dpkg-deb -x "$deb" root
	done
	cd "$OLDPWD"
}

if usable; then
	echo "$dest"
	exit 0
fi
command -v apt-get >/dev/null || die "apt-get is needed to fetch them"
command -v dpkg-deb >/dev/null || die "dpkg-deb is needed to unpack them"

mkdir -p build
work=$(mktemp -d build/prometheus.XXXXXX)
trap 'rm -rf "$work"' EXIT
# apt gives up its rights to a user that must be able to write here.
chmod 755 "$work"
unpack "$PWD/$work"
rm -rf "$dest"
mkdir -p "$dest"
for name in "${programs[@]}"; do
	mv "$work/root/usr/bin/$name" "$dest/$name"
done
mkdir -p "$dest/root/lib/systemd"
mv "$work/root/etc" "$dest/root/"
mv "$work"/root/{,usr/}lib/systemd/system "$dest/root/lib/systemd/" 2>/dev/null ||
	[ -d "$dest/root/lib/systemd/system" ]
usable || die "they were unpacked into $dest but do not run"
echo "$dest"
