#!/usr/bin/env bash
#
# check_package.sh
#     META.json has what PGXN asks for, every place that names the version names the
#     same, every place that names the supported servers names those of
#     tools/supported.sh, and debian/ asks for the libraries that the rest does.
#
# "make deb-test" builds and installs the Debian package; this takes a second.
#
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/supported.sh
failed=0

complain() {
    echo "$*" >&2
    failed=1
}

# same WHAT GOT WANTED
same() {
    [ "$2" = "$3" ] || complain "$1 is \"$2\", not \"$3\""
}

# PGXN validates META.json when a release is uploaded, and Debian has no program that does.
# Here: it is JSON, has every key that the specification requires and no unknown one, and the
# files that it names exist.
python3 - <<'PYTHON' || failed=1
import json
import os
import sys

required = "name version abstract maintainer license provides meta-spec".split()
optional = "description generated_by no_index prereqs release_status resources tags".split()
with open("META.json", encoding="utf-8") as file:
    meta = json.load(file)
wrong = [key + " is missing" for key in required if not meta.get(key)]
wrong += [key + " is not known" for key in meta if key not in required + optional]
for extension in meta.get("provides", {}).values():
    wrong += [extension.get(key, key) + " does not exist" for key in ("file", "docfile")
              if not os.path.isfile(extension.get(key, ""))]
for problem in wrong:
    print("META.json:", problem, file=sys.stderr)
sys.exit(bool(wrong))
PYTHON

version=$(sed -n 's/^EXTVERSION = //p' Makefile)
same "META.json's version" "$(sed -n 's/^  "version": "\(.*\)",$/\1/p' META.json)" "$version"
same "default_version" "$(sed -n "s/^default_version = '\(.*\)'/\1/p" birthday_scheduler.control)" "$version"
same "the version of what META.json provides" \
    "$(sed -n 's/^      "version": "\(.*\)"$/\1/p' META.json)" "$version"
same "the first version of CHANGELOG.md" "$(sed -n 's/^## \([0-9.]*\).*/\1/p' CHANGELOG.md | head -n 1)" "$version"
same "the version of debian/changelog" "$(sed -n '1s/.*(\([0-9.]*\)-[0-9]*).*/\1/p' debian/changelog)" "$version"
same "the image of docker/Dockerfile and docs/docker.md" "$(grep -ho 'birthday_scheduler:[0-9.]*' docker/Dockerfile docs/docker.md | sort -u)" \
    "birthday_scheduler:$version"
same "the image of docker/compose.yaml" "$(sed -n 's/^ *image: birthday_scheduler:\(.*\)/\1/p' docker/compose.yaml | sort -u)" "$version"

# The supported servers, and of META.json the range with what is to come.
supported=${supported_servers[*]}
all=("${supported_servers[@]}" "${coming_servers[@]}")
same "debian/pgversions" "$(xargs <debian/pgversions)" "$supported"
same "META.json's range of PostgreSQL" "$(sed -n 's/^ *"PostgreSQL": "\(.*\)"$/\1/p' META.json)" \
    ">= ${all[0]}.0.0, < $((${all[-1]} + 1)).0.0"
same "the table of docs/packaging.md" "$(sed -n 's/^| \([0-9]*\)\(rc[0-9]*\)\? | Debian.*/\1/p' docs/packaging.md | xargs)" \
    "${all[*]}"
image=$(sed -n 's/^ARG PG_MAJOR=//p' docker/Dockerfile)
[[ " $supported " == *" $image "* ]] || complain "docker/Dockerfile is for server $image"
same "the Debian of docker/Dockerfile" "$(sed -n 's/^ARG DEBIAN=//p' docker/Dockerfile)" "$(suite_of "$image")"
list=${supported// /, }
grep -qF "PostgreSQL ${list%, *} or ${supported##* }" README.md ||
    complain "README.md does not say PostgreSQL ${list%, *} or ${supported##* }"
same "the oldest server of src/server/base/bs_compat.h" \
    "$(sed -n 's/^#if PG_VERSION_NUM < \([0-9]*\)0000$/\1/p' src/server/base/bs_compat.h)" "${all[0]}"
for server in "${all[@]}"; do
    suite_of "$server" >/dev/null || complain "tools/supported.sh has no Debian for $server"
done
# They would be a second list.
found=$(grep -nE 'postgresql-[0-9]|-v [0-9]' debian/control.in debian/tests/* debian/rules) ||
    true
[ -z "$found" ] || complain "debian/ names a server outside of pgversions: $found"

# Headers of every library that we link are asked for.
while read -r library; do
    grep -qE "^ lib${library#-l}(4-openssl)?-dev,$" debian/control.in ||
        complain "debian/control.in does not ask for the headers of $library"
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
others=$(grep -rlE 'PG_VERSION_NUM|PG_MAJORVERSION_NUM' src | grep -v '^src/server/base/bs_compat.h$' || true)
[ -z "$others" ] || complain "server versions are told apart outside src/server/base/bs_compat.h: $others"

exit "$failed"
