#!/usr/bin/env bash
# docker.sh: the installation of docker/compose.yaml.
#
#   tools/docker.sh up       makes what secrets are missing, builds the image,
#                            starts everything, waits until all is well
#   tools/docker.sh down     ends it; the data stays in its volumes
#   tools/docker.sh secrets [DIR]   makes what secrets are missing, nothing else
#   tools/docker.sh token [SECONDS] a token for the API's role web_app (an hour)
#
# Secrets are files in docker/secrets, made once and never changed by this.  The
# folder is closed to others; the files are not, because each container reads
# them as a user of its own.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
secrets=docker/secrets

die() {
	echo "docker.sh: $*" >&2
	exit 1
}

compose() {
	docker compose -f docker/compose.yaml "$@"
}

need_docker() {
	command -v docker >/dev/null ||
		die "there is no docker here; install Docker Engine with its compose plugin"
	docker compose version >/dev/null 2>&1 ||
		die "docker has no \"compose\"; install its compose plugin (version 2)"
	docker info >/dev/null 2>&1 ||
		die "no Docker engine answers; is it started, and may $(id -un) use it?"
}

# ---- secrets -----------------------------------------------------------------

# Hexadecimal: means the same in a URI, in JSON and in SQL.
random_word() {
	od -An -N 24 -tx1 /dev/urandom | tr -d ' \n'
}

# secret NAME: the text on standard input becomes that secret, if there is none.
secret() {
	if [ -e "$secrets/$1" ]; then
		cat >/dev/null
		return 0
	fi
	cat >"$secrets/.new"
	chmod 0444 "$secrets/.new"
	mv "$secrets/.new" "$secrets/$1"
}

rabbitmq_definitions() {
	cat <<-JSON
		{
		  "vhosts": [{"name": "birthday"}],
		  "users": [
		    {"name": "admin", "password": "$(cat "$secrets/rabbitmq_password")", "tags": "administrator"},
		    {"name": "birthday_scheduler", "password": "$(cat "$secrets/bs_amqp_password")", "tags": ""}
		  ],
		  "permissions": [
		    {"user": "admin", "vhost": "birthday", "configure": ".*", "write": ".*", "read": ".*"},
		    {"user": "birthday_scheduler", "vhost": "birthday",
		     "configure": "^birthday\\\\.messages(\\\\.|$)", "write": "^birthday\\\\.messages(\\\\.|$)",
		     "read": "^birthday\\\\.messages(\\\\.|$)"}
		  ]
		}
	JSON
}

make_secrets() {
	local name
	mkdir -p "$secrets"
	chmod 0700 "$secrets"
	for name in postgres_password bs_amqp_password rabbitmq_password \
		postgrest_password postgrest_jwt_secret exporter_password \
		pgadmin_password grafana_password sender_password; do
		random_word | secret "$name"
	done
	rabbitmq_definitions | secret rabbitmq_definitions.json
	printf 'postgres://authenticator:%s@postgres:5432/app' \
		"$(cat "$secrets/postgrest_password")" | secret postgrest_db_uri
	printf 'postgres:5432:app:birthday_sender:%s\n' \
		"$(cat "$secrets/sender_password")" | secret bs_sender_passfile
}

# ---- commands ----------------------------------------------------------------

up() {
	need_docker
	make_secrets
	compose up --detach --build --wait
	cat <<-TEXT

		Everything is up; passwords are the files in $secrets.

		  database     $(compose port postgres 5432), app, user postgres
		  mails        http://$(compose port mailpit 8025)
		  API          http://$(compose port postgrest 3000), token: tools/docker.sh token
		  broker       http://$(compose port rabbitmq 15672), user admin
		  pgAdmin      http://$(compose port pgadmin 8080)
		  Prometheus   http://$(compose port prometheus 9090)
		  Grafana      http://$(compose port grafana 3000), user admin

		First greeting:

		  docker compose -f docker/compose.yaml exec -u postgres postgres psql app
		  SELECT bs_add_user('Ada', 'Lovelace', 'ada@example.com', 'Europe/London',
		                     birthday_date => '1815-12-10');
	TEXT
}

# RFC 7519, signed with HMAC-SHA256 as RFC 7515 has it.
token() {
	local seconds=${1:-3600}
	[[ $seconds =~ ^[0-9]+$ ]] || die "not a number of seconds: $seconds"
	[ -f "$secrets/postgrest_jwt_secret" ] || die "no secrets yet; run tools/docker.sh secrets"
	# shellcheck disable=SC2016  # it is Perl
	perl -MDigest::SHA=hmac_sha256 -MMIME::Base64=encode_base64url -e '
		my ($seconds) = @ARGV;
		my $key = do { local $/; <STDIN> };
		my $signed = join ".", map { encode_base64url($_) }
			q({"alg":"HS256","typ":"JWT"}),
			sprintf(q({"role":"web_app","exp":%d}), time + $seconds);
		print "$signed.", encode_base64url(hmac_sha256($signed, $key)), "\n";
	' "$seconds" <"$secrets/postgrest_jwt_secret"
}

case ${1-} in
up) up ;;
down)
	need_docker
	compose down
	;;
secrets)
	secrets=${2:-$secrets}
	make_secrets
	;;
token)
	secrets=${BS_SECRETS:-$secrets}
	token "${2-}"
	;;
*) die "usage: tools/docker.sh up|down|secrets [DIR]|token [SECONDS]" ;;
esac
