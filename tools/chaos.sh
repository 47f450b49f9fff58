#!/usr/bin/env bash
# chaos.sh: faults at random and in order; what "make chaos" calls.
#
#   tools/chaos.sh [ARGUMENT of test/chaos/chaos.py]...
#
# Makes build/pg and build/failpoints, and runs as a user that is not root.  What
# goes wrong is kept in build/chaos.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
unset MAKEFLAGS MAKELEVEL

tools/setup.sh build test
tools/private_pg.sh >/dev/null
FAILPOINTS=1 tools/build_copy.sh build/failpoints >/dev/null
make -s --no-print-directory chaos-libraries
exec tools/run_as.sh --own build/chaos \
	/usr/bin/python3 -B test/chaos/chaos.py --out build/chaos "$@"
