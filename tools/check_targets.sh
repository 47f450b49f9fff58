#!/usr/bin/env bash
#
# check_targets.sh
#     What "make help" lists can be made, also before anything is installed, and
#     what people expect to find is in it.
#
set -euo pipefail
cd "$(dirname "$0")/.."
unset MAKEFLAGS MAKELEVEL MFLAGS
failed=0

complain() {
    echo "$*"
    failed=1
}

mapfile -t listed < <(make -s help | sed -n 's/^  make \([a-z-]*\) .*/\1/p')
for target in all help setup demo demo-stop psql seed test bench chaos lint \
    format coverage docker-up docker-down dist deb install clean; do
    [[ " ${listed[*]} " == *" $target "* ]] ||
        complain "make help does not list $target"
done
for target in "${listed[@]}"; do
    make -n "$target" >/dev/null 2>&1 || complain "make $target is no target"
    make -n "$target" PG_CONFIG=/nonexistent >/dev/null 2>&1 ||
        complain "make $target is no target where nothing is installed"
done

# What is missing is said, and how to get it.
for target in all install; do
    if answer=$(make -s "$target" PG_CONFIG=/nonexistent 2>&1); then
        complain "make $target works without pg_config?"
    fi
    [[ $answer == *"make setup"* ]] ||
        complain "make $target does not say what is missing: $answer"
done

# What the pages tell people to type is there.
while read -r target; do
    make -n "$target" >/dev/null 2>&1 ||
        complain "README or docs speak of make $target, which is no target"
done < <(grep -hoE '(^ {4}|`|&& )(sudo )?make [a-z][a-z-]*' README.md docs/*.md |
    sed 's/.* //' | sort -u)
exit "$failed"
