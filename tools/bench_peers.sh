#!/usr/bin/env bash
# bench_peers.sh: the job queues that "make bench BENCH=peers" measures beside us.
#
#   tools/bench_peers.sh     installs what test/bench/peers/package.json pins into
#                            build/peers, with npm
#
# From npm's own settings, no script of any package is run.  Where npm is missing or
# fails, build/peers/reason says so, and the case is left out.  Does nothing when all
# is there.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
from=test/bench/peers
dest=build/peers

stamp() {
	cat "$from"/* | cksum
}

give_up() {
	rm -rf "$dest"
	mkdir -p "$dest"
	echo "$1" >"$dest/reason"
	exit 0
}

[ ! -f "$dest/complete" ] || [ "$(stamp)" != "$(cat "$dest/complete")" ] || exit 0
command -v npm >/dev/null || give_up "npm is not there"
rm -rf "$dest"
mkdir -p "$dest"
cp "$from"/* "$dest/"
if ! (cd "$dest" && timeout 600 npm ci --ignore-scripts --no-audit \
	--no-fund --loglevel=error) >"$dest.log" 2>&1 </dev/null; then
	give_up "npm could not install them: $(grep -m 1 . "$dest.log")"
fi
rm -f "$dest.log"
stamp >"$dest/complete"
