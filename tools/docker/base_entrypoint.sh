#!/bin/bash
# base_entrypoint.sh: what the official image's docker-entrypoint.sh does, for
# tools/try_image.sh, which cannot have that image.
#
# The documented steps in their order, nothing else: as the server's user initdb,
# a line in pg_hba.conf, a server on its socket only, the database, the scripts of
# /docker-entrypoint-initdb.d by psql with ON_ERROR_STOP, then the command.
set -euo pipefail

if [ "$(id -u)" = 0 ]; then
	install -d -m 0700 -o postgres -g postgres "$PGDATA"
	install -d -m 3775 -o postgres -g postgres /var/run/postgresql
	POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
	export POSTGRES_PASSWORD
	exec gosu postgres "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
	# shellcheck disable=SC2086  # several words
	initdb --username="$POSTGRES_USER" --pwfile=<(echo "$POSTGRES_PASSWORD") \
		$POSTGRES_INITDB_ARGS
	echo "host all all all $POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"
	pg_ctl -D "$PGDATA" -w start \
		-o "$(printf '%q ' "${@:2}") -c listen_addresses=''"
	psql=(psql -X -v ON_ERROR_STOP=1 -U "$POSTGRES_USER")
	"${psql[@]}" -d postgres -c "CREATE DATABASE $POSTGRES_DB"
	for script in /docker-entrypoint-initdb.d/*.sql; do
		"${psql[@]}" -d "$POSTGRES_DB" -f "$script"
	done
	pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@"
