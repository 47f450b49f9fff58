#!/usr/bin/env bash
# deb.sh: the Debian package for one server, built from the release archive of what
# is committed.
#
#   tools/deb.sh        prints the name of the package; it is in build/deb
#
# The server is the one that tools/supported.sh chooses.  The archive is tried as
# well: what it lacks, the build lacks.  debian/control is made in the unpacked
# archive, and the tree is not touched.  lintian's errors and warnings are errors, but
# for what debian/*lintian-overrides say and the version that is not released yet.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
unset MAKEFLAGS MAKELEVEL MFLAGS
dir=$PWD/build/deb
log=build/deb.log
. tools/supported.sh

die() {
	tail -n 40 "$log" >&2
	echo "deb.sh: $*" >&2
	exit 1
}

for program in dpkg-buildpackage dh pg_buildext lintian; do
	command -v "$program" >/dev/null || {
		echo "deb.sh: no $program; run tools/setup.sh deb" >&2
		exit 1
	}
done

rm -rf "$dir"
mkdir -p "$dir"
: >"$log"
archive=$(tools/dist.sh "$dir" | grep '\.tar\.gz$')
tar -xzf "$archive" -C "$dir"
source=${archive%.tar.gz}
choose_server ''
headers=$(dpkg-query -W -f '${Version}' "postgresql-server-dev-$server" 2>/dev/null) ||
	die "the headers of server ${server:-?} are not Debian's"
# A server of an older minor release may lack what this one has, and would not load
# the library: the package asks for the minor release.
sed -i "s/^ \${postgresql:Depends},\$/&\n postgresql-PGVERSION (>> ${headers%-*}),/" "$source/debian/control.in"
grep -qF "(>> ${headers%-*})" "$source/debian/control.in" || die "debian/control.in has no postgresql:Depends"
echo "$server" >"$source/debian/pgversions"
export PG_SUPPORTED_VERSIONS=$server
(cd "$source" && pg_buildext updatecontrol && dpkg-buildpackage -us -uc -b -j"$(nproc)") >>"$log" 2>&1 ||
	die "dpkg-buildpackage failed"
package=$(echo "$dir"/"postgresql-$server-birthday-scheduler"_*.deb)
[ -f "$package" ] || die "there is no package in $dir"
lintian --allow-root --fail-on error,warning --suppress-tags unreleased-changes \
	"$dir"/*.changes >>"$log" 2>&1 || die "lintian complains"
echo "$package"
