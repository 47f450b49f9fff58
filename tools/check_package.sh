#!/usr/bin/env bash
#
# check_package.sh
#     META.json is what PGXN takes, every place that names the version names the
#     same, and debian/ asks for the libraries and servers that the rest does.
#
# "make deb-test" builds and installs the Debian package; this takes a second.
#
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0

complain() {
    echo "$*" >&2
    failed=1
}

# same WHAT GOT WANTED
same() {
    [ "$2" = "$3" ] || complain "$1 is \"$2\", not \"$3\""
}

tools/packaging/check_meta.py || failed=1

version=$(sed -n 's/^EXTVERSION = //p' Makefile)
release=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' META.json)
same "META.json's version without its last number" "${release%.*}" "$version"
same "default_version" "$(sed -n "s/^default_version = '\(.*\)'/\1/p" birthday_scheduler.control)" "$version"
same "the version of what META.json provides" \
    "$(sed -n 's/^      "version": "\(.*\)"$/\1/p' META.json)" "$release"
same "the first version of CHANGELOG.md" "$(sed -n 's/^## \([0-9.]*\).*/\1/p' CHANGELOG.md | head -n 1)" "$release"
same "the version of debian/changelog" "$(sed -n '1s/.*(\([0-9.]*\)-[0-9]*).*/\1/p' debian/changelog)" "$release"
same "the image of docker/compose.yaml" "$(sed -n 's/^ *image: birthday_scheduler:\(.*\)/\1/p' docker/compose.yaml | sort -u)" "$version"

# pg_buildext makes control from control.in for the versions in pgversions.
same "debian/pgversions" "$(cat debian/pgversions)" 15
sed 's/PGVERSION/15/g' debian/control.in | cmp -s - debian/control ||
    complain "debian/control is not debian/control.in for 15"

# Headers of every library that we link are asked for.
while read -r library; do
    grep -qE "^ lib${library#-l}(4-openssl)?-dev,$" debian/control ||
        complain "debian/control does not ask for the headers of $library"
done < <(sed -n 's/^SHLIB_LINK = //p' Makefile | tr ' ' '\n')

# bs_sender, its page and its unit are installed together, and the unit names the
# program, wherever they go.
for prefix in /usr/local /usr; do
    root=$(mktemp -d)
    make -s --no-print-directory install-sender DESTDIR="$root" \
        $([ "$prefix" = /usr/local ] || echo "SENDER_PREFIX=$prefix") >/dev/null
    same "what the unit in $prefix starts" "$(sed -n 's/^ExecStart=//p' \
        "$root$prefix/lib/systemd/system/bs_sender.service")" "$prefix/bin/bs_sender"
    [ -x "$root$prefix/bin/bs_sender" ] || complain "bs_sender is not in $prefix/bin"
    [ -f "$root$prefix/share/man/man1/bs_sender.1" ] || complain "its page is not in $prefix"
    rm -r "$root"
done

# Server versions are told apart in one header only.
others=$(grep -rlE 'PG_VERSION_NUM|PG_MAJORVERSION_NUM' src | grep -v '^src/bs_compat.h$' || true)
[ -z "$others" ] || complain "server versions are told apart outside src/bs_compat.h: $others"

exit "$failed"
