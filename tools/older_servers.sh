#!/usr/bin/env bash
# older_servers.sh: the extension for each older server that is installed, for
# test/t/pg_upgrade.pl.
#
# Older than that of PG_CONFIG, supported, from Debian's packages and with its headers.
# Each is built in build/older/NN; build/older/servers has a line for each, its number
# and the folder of its installation, from the top of the tree.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. tools/supported.sh
mkdir -p build/older
: >build/older/servers
choose_server ''
for older in "${supported_servers[@]}"; do
	home=/usr/lib/postgresql/$older
	if [ "$older" -lt "$server" ] && [ -x "$home/bin/postgres" ] && [ -x "$home/bin/pg_config" ] &&
		[ -f "$home/lib/pgxs/src/makefiles/pgxs.mk" ]; then
		bin=$(PG_CONFIG=$home/bin/pg_config tools/build_copy.sh "build/older/$older")
		bin=${bin#"$PWD/"}
		echo "$older ${bin%/bin}" >>build/older/servers
	fi
done
