#!/usr/bin/env bash
# bench.sh: measure speed and lateness; what "make bench" calls.
#
#   tools/bench.sh [ARGUMENT of test/bench/bench.py]...
#
# Fetches smtp-source, smtp-sink, nginx and RabbitMQ, and for "peers" what npm has,
# makes build/pg and the programs of test/bench, and measures as a user that is not
# root.  The figures are kept in build/bench.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
unset MAKEFLAGS MAKELEVEL

tools/setup.sh build demo bench
make -s --no-print-directory bench-programs
tools/private_pg.sh >/dev/null
[[ " $* " != *" peers "* ]] || tools/bench_peers.sh
exec tools/run_as.sh --own build/bench \
	/usr/bin/python3 -B test/bench/bench.py --out build/bench "$@"
