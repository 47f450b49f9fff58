#!/bin/bash
# bs-entrypoint.sh: hands secrets to the server, then lets the image go on.
#
# birthday_scheduler reads a password only from a file that belongs to the
# server's user and is closed to others; a secret that compose mounts belongs to
# somebody of the host.  So each /run/secrets/bs_NAME becomes
# /run/birthday_scheduler/NAME, in memory if compose mounts a tmpfs there.
set -euo pipefail

from=${BS_SECRETS_FROM:-/run/secrets}
to=${BS_SECRETS_TO:-/run/birthday_scheduler}
owner=()
if [ "$(id -u)" = 0 ]; then
	owner=(-o postgres -g postgres)
fi

for secret in "$from"/bs_*; do
	[ -f "$secret" ] || continue
	if [ ! -d "$to" ] || [ "$(id -u)" = 0 ]; then
		install -d -m 0700 "${owner[@]}" "$to"
	fi
	name=${secret##*/}
	install -m 0400 "${owner[@]}" "$secret" "$to/${name#bs_}"
done

exec docker-entrypoint.sh "$@"
