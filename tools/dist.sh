#!/usr/bin/env bash
# dist.sh: the archives of a release, from what is committed.
#
#   tools/dist.sh [DIR]     makes birthday_scheduler-VERSION.zip, as PGXN takes it,
#                           and .tar.gz in DIR (build/dist), and prints their names
#
# The version is the one of META.json.  Files with the attribute export-ignore
# stay out.  The same commit gives the same bytes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=${1:-build/dist}
name=birthday_scheduler

die() {
	echo "dist.sh: $*" >&2
	exit 1
}

commit=$(git rev-parse --verify --quiet HEAD) || die "there is no git history here"
version=$(git show "$commit:META.json" |
	sed -n 's/^  "version": "\([^"]*\)",$/\1/p')
[ -n "$version" ] || die "META.json has no version"
git diff --quiet HEAD -- || echo "dist.sh: what is not committed is left out" >&2

mkdir -p "$dir"
for format in zip tar.gz; do
	file=$dir/$name-$version.$format
	git archive --format="$format" --prefix="$name-$version/" -o "$file" "$commit"
	echo "$file"
done
