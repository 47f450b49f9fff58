#!/usr/bin/env bash
# valgrind_postgres.sh: stands in for "postgres" in build/pg-valgrind.
#
# A postmaster runs under valgrind's memcheck, and its children with it, each
# with a log of its own in BS_VALGRIND_LOGS.  What initdb does and questions like
# --version run as they are: that is the server's code, and takes a minute.
# Suppressions: BS_VALGRIND_SUPP.
set -euo pipefail

real=$(dirname "$(readlink -f "$0")")/postgres.real
case ${1-} in
--boot | --check | --single | --version | -V | --describe-config | -C) exec "$real" "$@" ;;
esac
[ -n "${BS_VALGRIND_LOGS-}" ] || exec "$real" "$@"

# A stack must reach down to where our code called, and libcurl is deep.
exec valgrind --quiet --tool=memcheck --leak-check=no --num-callers=60 \
	--error-limit=no --gen-suppressions=all \
	--suppressions="$BS_VALGRIND_SUPP" \
	--log-file="$BS_VALGRIND_LOGS/%p.log" "$real" "$@"
