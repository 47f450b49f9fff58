#!/usr/bin/env bash
# try_image.sh: builds docker/Dockerfile without Docker, and runs what came out.
#
#   tools/try_image.sh [SERVER...]     "make docker-test" calls it; needs root
#
# For each server that is named, or 15 and 17.  Every line of the Dockerfile is
# carried out by buildah, in a folder below build/.  Only the base cannot be had: in
# its place stands the Debian that ships the server, made by mmdebstrap, with an
# entrypoint that does the documented steps (tools/docker/base_entrypoint.sh).  Then
# the image is started as docker/compose.yaml starts it, with its settings, mounts and
# secrets, in a network of its own, and asked.  Two to five minutes for each, two
# gigabytes while it runs.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
# A question to a terminal would stop what runs in the background.
exec </dev/null
export DEBIAN_FRONTEND=noninteractive
[ "$(id -u)" = 0 ] || { echo "try_image.sh: root is needed" >&2 && exit 1; }
for program in buildah mmdebstrap unshare; do
	command -v "$program" >/dev/null || {
		echo "try_image.sh: no $program; run tools/setup.sh image" >&2
		exit 1
	}
done
. tools/supported.sh
. tools/roots.sh

# One after the other, each in a process of its own, which stops its server.
[ $# -gt 0 ] || set -- 15 17
if [ $# -gt 1 ]; then
	code=0
	for server in "$@"; do
		tools/try_image.sh "$server" || code=1
	done
	exit "$code"
fi
server=$1
suite=$(suite_of "$server") || { echo "try_image.sh: no Debian ships server $server" >&2 && exit 1; }

mkdir -p build
work=$(mktemp -d "$PWD/build/image.XXXXXX")
log=build/image-$server.log
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
buildah=(buildah --root "$work/store" --runroot "$work/run")
passed=0 failed=0

finish() {
	"${buildah[@]}" rm --all >/dev/null 2>&1 || true
	"${buildah[@]}" rmi --all --force >/dev/null 2>&1 || true
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 143' INT TERM HUP

# check WHAT COMMAND...
check() {
	local what=$1
	shift
	if "$@" >>"$log" 2>&1; then
		passed=$((passed + 1))
		echo "ok - $what"
	else
		failed=$((failed + 1))
		echo "not ok - $what"
	fi
}

die() {
	tail -n 40 "$log" >&2
	echo "try_image.sh: $*" >&2
	exit 1
}

# The official image's parts that ours builds on: user, folders, server, gosu.
# shellcheck disable=SC2016  # the hooks are for another shell
make_base() {
	local container
	make_debian "$suite" "$work/base.tar" ca-certificates,gosu,postgresql-common \
		--customize-hook='echo "create_main_cluster = false" >>"$1/etc/postgresql-common/createcluster.conf"' \
		--customize-hook="chroot \"\$1\" apt-get -o Dpkg::Use-Pty=0 install -qq -y --no-install-recommends postgresql-$server" \
		--customize-hook='mkdir -p "$1/docker-entrypoint-initdb.d"' \
		--customize-hook='rm -rf "$1"/var/lib/apt/lists/*'
	container=$("${buildah[@]}" from scratch)
	"${buildah[@]}" add -q "$container" "$work/base.tar" /
	"${buildah[@]}" copy -q "$container" tools/docker/base_entrypoint.sh \
		/usr/local/bin/docker-entrypoint.sh
	"${buildah[@]}" config \
		--env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:"/usr/lib/postgresql/$server/bin" \
		--env PGDATA=/var/lib/postgresql/data --cmd postgres \
		--entrypoint '["docker-entrypoint.sh"]' "$container"
	"${buildah[@]}" commit -q --rm "$container" localhost/base
	rm "$work/base.tar"
}

# What docker/compose.yaml says of the service "postgres", as options and words.
compose_says() {
	python3 - "$1" "$work" <<'PYTHON'
import os, sys, yaml
what, work = sys.argv[1:]
compose = yaml.safe_load(open("docker/compose.yaml"))
service = compose["services"]["postgres"]
if what == "command":
    print("\n".join(service["command"]))
elif what == "environment":
    for pair in service["environment"].items():
        print("--env\n%s=%s" % pair)
else:
    for volume in service["volumes"]:
        source, target, *ro = volume.split(":")
        if source.startswith("."):
            source = os.path.normpath(os.path.join(os.getcwd(), "docker", source))
        else:
            source = os.path.join(work, source)
            os.makedirs(source, exist_ok=True)
        print("--volume\n" + ":".join([source, target, *(ro or ["rw"])]))
    for secret in service["secrets"]:
        print("--volume\n%s/secrets/%s:/run/secrets/%s:ro" % (work, secret, secret))
PYTHON
}

# inside COMMAND...: in the running container, as the server's user
inside() {
	nsenter --target "$(cat "$work/pid")" --net \
		chroot --userspec=postgres "$root" \
		env PATH=/usr/bin:/bin:"/usr/lib/postgresql/$server/bin" "$@"
}

psql() {
	inside psql -XAtq -h /var/run/postgresql -U postgres -d app -c "$1"
}

says() {
	local answer
	answer=$(psql "$1") && echo "$1: $answer" && [[ $answer == "$2" ]]
}

until_true() {
	local round
	for ((round = 0; round < 120; round++)); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.5
	done
	return 1
}

echo "== server $server: base, $suite" | tee "$log"
make_base >>"$log" 2>&1 || die "the base could not be made"
echo "== docker/Dockerfile" | tee -a "$log"
# buildah 1.28 looks for .dockerignore elsewhere than Docker does.
"${buildah[@]}" bud --layers=false --network host --build-arg BASE=localhost/base \
	--build-arg PG_MAJOR="$server" \
	--ignorefile docker/Dockerfile.dockerignore -f docker/Dockerfile \
	-t localhost/birthday_scheduler . >>"$log" 2>&1 || die "the image could not be built"

echo "== run" | tee -a "$log"
tools/docker.sh secrets "$work/secrets"
container=$("${buildah[@]}" from localhost/birthday_scheduler)
root=$("${buildah[@]}" mount "$container")
mapfile -t command < <(compose_says command)
mapfile -t environment < <(compose_says environment)
mapfile -t volumes < <(compose_says volumes)
"${buildah[@]}" config "${environment[@]}" "$container"
entrypoint=$("${buildah[@]}" inspect "$container" |
	python3 -c 'import json, sys; print(*json.load(sys.stdin)["OCIv1"]["config"]["Entrypoint"])')
check "the image starts by bs-entrypoint.sh" [ "$entrypoint" = bs-entrypoint.sh ]

# The process id is the way into its network.
# shellcheck disable=SC2016  # the inner shell writes its own id
unshare --net sh -c '
	echo $$ >"$0"
	ip link set lo up
	exec "$@"' "$work/pid" "${buildah[@]}" run "${volumes[@]}" "$container" -- \
	"$entrypoint" "${command[@]}" >"$work/server.log" 2>&1 &
unshare_pid=$!
stop() {
	local server
	# As "docker stop" does: the signal goes to the server itself.
	server=$(head -n 1 "$root/var/lib/postgresql/data/postmaster.pid" 2>/dev/null ||
		head -n 1 "$work/postgres_data/postmaster.pid" 2>/dev/null) &&
		kill -INT "$server" || kill "$unshare_pid" || true
	wait "$unshare_pid" 2>/dev/null || true
	cat "$work/server.log" >>"$log"
	finish
}
trap stop EXIT
until_true [ -s "$work/pid" ]

check "the server comes up by TCP" until_true inside \
	pg_isready -q -h 127.0.0.1 -U postgres -d app
check "the extension and pg_cron are there" says \
	"SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension" \
	"birthday_scheduler pg_cron plpgsql"
check "it is the server that was asked for" says \
	"SELECT current_setting('server_version_num')::int / 10000" "$server"
check "all workers run" until_true says \
	"SELECT bool_and(pid IS NOT NULL) AND count(*) >= 4 FROM bs_workers" t
check "pg_cron has the jobs" says "SELECT count(*) > 0 FROM cron.job" t
check "the password of the broker belongs to the server alone" says \
	"SELECT pg_read_file('/run/birthday_scheduler/amqp_password') = pg_read_file('/run/secrets/bs_amqp_password')" t
check "and is closed to others" [ "$(inside stat -c '%a %U' /run/birthday_scheduler/amqp_password)" = "400 postgres" ]
check "an application adds a user" says \
	"SET SESSION AUTHORIZATION authenticator; SET ROLE web_app; SELECT length(api.bs_add_user('Ada', 'Lovelace', 'ada@example.com', 'Europe/London', '1815-12-10')::text)" 36
check "pages have checksums, names are UTF8" says \
	"SELECT current_setting('data_checksums') || pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'app'" onUTF8
check "a password is asked for by TCP" [ -z "$(inside psql -wXAt -h 127.0.0.1 -U postgres -d app -c 'SELECT 1' 2>>"$log")" ]
check "there is no compiler in the image" [ -z "$(ls "$root"/usr/bin/{*gcc*,cc,clang*,make,ld} 2>/dev/null)" ]
check "there are no package lists in the image" [ -z "$(ls "$root/var/lib/apt/lists")" ]

echo "log: $log"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
