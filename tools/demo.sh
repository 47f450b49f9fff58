#!/usr/bin/env bash
# demo.sh: a server of its own with the extension at work, and a mailbox.
#
#   tools/demo.sh start [--spacing INTERVAL] [--queue rabbitmq]
#                    people in eleven zones, whose nine o'clock comes within
#                    seconds; shows their mails arrive and leaves all of it running
#                    (INTERVAL between two mails: 1 second); with a RabbitMQ broker
#                    of its own between planning and sending, if asked
#   tools/demo.sh psql [ARGUMENT...]           psql in the demo's database
#   tools/demo.sh seed [PEOPLE]                sample people with a past (100)
#   tools/demo.sh stop                         ends it and removes what it left
#
# "make demo" installs and builds what is missing first; here build/pg must be
# ready (tools/private_pg.sh), for RabbitMQ build/rabbitmq too
# (tools/unpack.sh).  Everything lies in build/demo, or in the folder
# that --dir names before the command.  Server, mail catcher and broker listen on
# 127.0.0.1 only; server and broker ask for passwords that are found there.
#
# A server does not run as root.  For root the demo runs as the user of
# tools/run_as.sh; where that user cannot read the tree, as below /root, in a
# copy of the few things it needs below /tmp, which build/demo.place names.
set -euo pipefail

self=$(readlink -f "${BASH_SOURCE[0]}")
cd "$(dirname "$self")/.."
top=$PWD
umask 022
unset "${!PG@}" MAKEFLAGS MAKELEVEL
dir=build/demo

die() {
	echo "demo.sh: $*" >&2
	exit 1
}

while [ $# -gt 0 ]; do
	case $1 in
	--dir)
		dir=${2:?--dir takes a folder}
		shift 2
		;;
	*) break ;;
	esac
done
place=$dir.place
command=${1:-start}
[ $# -eq 0 ] || shift

# Sets home, the tree or its copy, and demo, the folder with all that runs.
find_home() {
	home=$top
	if [ -f "$place" ]; then
		home=$(cat "$place")
	fi
	demo=$(cd "$home" && realpath -m "$dir")
	pgbin=$(find "$home/build/pg" -path '*/bin/postgres' \
		-printf '%h' -quit 2>/dev/null) || true
}

# Reads port, smtp_port and page_port of the demo that runs.
need_running() {
	find_home
	[ -e "$demo" ] || die "there is no demo; make demo starts one"
	[ -r "$demo/ports" ] || die "the demo did not start; look into $demo"
	[ -r "$demo/pgpass" ] || die "the demo is $(stat -c %U "$demo")'s;" \
		"ask again as that user or root"
	# shellcheck source=/dev/null
	. "$demo/ports"
	"$pgbin/pg_isready" -q -h 127.0.0.1 -p "$port" ||
		die "the demo's server does not run; make demo starts it afresh"
	export PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres PGDATABASE=demo
	export PGPASSFILE=$demo/pgpass PGCLIENTENCODING=UTF8
}

# ---- start and stop, by the user that owns what runs ------------------------

is_catcher() {
	tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" |
		grep -qF "mail_catcher.py --dir $demo/mail "
}

stop_catcher() {
	local pid round
	[ -f "$demo/mail/ports.json" ] || return 0
	pid=$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$demo/mail/ports.json")
	if [ -z "$pid" ] || ! is_catcher "$pid"; then
		return 0
	fi
	kill "$pid"
	for ((round = 0; round < 50; round++)); do
		is_catcher "$pid" || return 0
		sleep 0.1
	done
	kill -KILL "$pid" 2>/dev/null || true
}

stop_server() {
	if [ -f "$demo/data/postmaster.pid" ] &&
		"$pgbin/pg_ctl" -D "$demo/data" status >/dev/null 2>&1; then
		"$pgbin/pg_ctl" -D "$demo/data" -m fast -t 30 stop >/dev/null ||
			"$pgbin/pg_ctl" -D "$demo/data" -m immediate stop >/dev/null
	fi
}

stop_broker() {
	[ ! -e "$demo/broker" ] ||
		"$home/tools/private_rabbitmq.sh" stop "$demo/broker"
}

inside_stop() {
	find_home
	stop_server
	stop_broker
	stop_catcher
	# The folder itself may belong to root, what is in it does not.
	find "$demo" -mindepth 1 -delete 2>/dev/null || true
}

# Ends a demo of before, whoever is its owner, as far as our rights reach.
stop_all() {
	local owner=
	find_home
	[ -e "$demo" ] || return 0
	owner=$(stat -c %U "$demo")
	[ "$(id -u)" = 0 ] || [ "$owner" = "$(id -un)" ] ||
		die "the demo in $demo is $owner's; end it as $owner or root: make demo-stop"
	if [ "$(id -u)" != 0 ] || [ "$owner" = root ]; then
		inside_stop
	else
		as_owner "$owner" "$home/tools/demo.sh" --dir "$dir" inside-stop
	fi
	rm -rf "${demo:?}"
	if [ "$home" != "$top" ]; then
		case $home in
		/tmp/birthday_scheduler_demo.*) rm -rf "$home" ;;
		esac
	fi
	rm -f "$place"
}

# pg_ctl refuses root too.
as_owner() {
	local owner=$1
	shift
	setpriv --reuid="$owner" --regid="$(id -g "$owner")" --init-groups \
		--inh-caps=-all "$@"
}

free_port() {
	/usr/bin/python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

start_catcher() {
	local round
	mkdir -p "$demo/mail"
	# A session of its own, so that Ctrl-C ends the display only.
	setsid /usr/bin/python3 "$home/test/lib/mail_catcher.py" \
		--dir "$demo/mail" --smtp-port 0 --page-port 0 --maildir \
		>"$demo/catcher.log" 2>&1 </dev/null 3>&- 4>&- &
	for ((round = 0; round < 100; round++)); do
		[ ! -f "$demo/mail/ports.json" ] || return 0
		sleep 0.1
	done
	die "the mail catcher did not start: $(tail -n 3 "$demo/catcher.log")"
}

json_number() {
	sed -n "s/.*\"$1\": *\\([0-9]*\\).*/\\1/p" "$demo/mail/ports.json"
}

# A user of its own, whose password the server reads from a file.
start_broker() {
	local url
	url=$("$home/tools/private_rabbitmq.sh" start "$demo/broker" --user demo) ||
		exit 1
	amqp_port=${url##*:}
	url=${url#*://demo:}
	(umask 077 && echo "${url%%@*}" >"$demo/broker/password")
}

configure() {
	cat >>"$demo/data/postgresql.conf" <<-CONF
		listen_addresses = '127.0.0.1'
		unix_socket_directories = ''
		max_worker_processes = 16
		timezone = 'UTC'
		log_timezone = 'UTC'
		shared_preload_libraries = 'birthday_scheduler'
		birthday_scheduler.database = 'demo'
		birthday_scheduler.role = 'demo_worker'
		birthday_scheduler.mail_url = 'smtp://127.0.0.1:$smtp_port'
		birthday_scheduler.mail_tls = 'off'
		birthday_scheduler.mail_from = 'The birthday demo <greetings@example.com>'
	CONF
	[ -z "$amqp_port" ] || cat >>"$demo/data/postgresql.conf" <<-CONF
		birthday_scheduler.queue = 'rabbitmq'
		birthday_scheduler.amqp_url = 'amqp://demo@127.0.0.1:$amqp_port'
		birthday_scheduler.amqp_password_file = '$demo/broker/password'
	CONF
}

make_cluster() {
	local password
	password=$(od -An -N 16 -tx1 /dev/urandom | tr -d ' \n')
	(umask 077 && echo "$password" >"$demo/password" &&
		echo "127.0.0.1:*:*:postgres:$password" >"$demo/pgpass")
	"$pgbin/initdb" -D "$demo/data" -U postgres -A scram-sha-256 \
		--pwfile="$demo/password" -N --encoding=UTF8 --locale=C.UTF-8 \
		>"$demo/initdb.log" 2>&1 || die "initdb: $(tail -n 5 "$demo/initdb.log")"
	rm "$demo/password"
	# So that the workers find what they look for when the server starts.
	printf '%s\n\n' 'CREATE DATABASE demo;' 'CREATE ROLE demo_worker LOGIN;' |
		"$pgbin/postgres" --single -j -D "$demo/data" postgres \
			>>"$demo/initdb.log" 2>&1 ||
		die "making the database: $(tail -n 5 "$demo/initdb.log")"
}

start_server() {
	local round
	# Somebody may take the port between the look and the start.
	for round in 1 2 3; do
		port=$(free_port)
		if "$pgbin/pg_ctl" -D "$demo/data" -o "-p $port" -w -t 60 \
			-l "$demo/server.log" start >/dev/null 2>&1 </dev/null \
			3>&- 4>&-; then
			printf '%s\n' "port=$port" "smtp_port=$smtp_port" \
				"page_port=$page_port" "amqp_port=$amqp_port" >"$demo/ports"
			return 0
		fi
	done
	tail -n 20 "$demo/server.log" >&2 || true
	die "the server did not start"
}

wait_for_workers() {
	local round
	for ((round = 0; round < 100; round++)); do
		[ "$(sql "SELECT count(*)
				= current_setting('birthday_scheduler.senders')::integer + 2
			FROM pg_stat_activity WHERE usename = 'demo_worker'")" != t ] ||
			return 0
		sleep 0.1
	done
	tail -n 20 "$demo/server.log" >&2
	die "the workers did not start"
}

sql() {
	"$pgbin/psql" -XAtq -v ON_ERROR_STOP=1 -c "$1"
}

say() {
	echo
	printf '%s\n' "$@"
}

inside_start() {
	find_home
	mkdir -p "$demo"
	chmod 755 "$demo"
	start_catcher
	smtp_port=$(json_number smtp)
	page_port=$(json_number page)
	amqp_port=
	[ "$queue" = postgres ] || start_broker
	make_cluster
	configure
	start_server
	need_running
	wait_for_workers
	say "A server of its own runs on 127.0.0.1:$port, with birthday_scheduler" \
		"preloaded; its workers connect as demo_worker, which is no superuser." \
		"Mail goes to a catcher on 127.0.0.1:$smtp_port and to nobody else."
	[ -z "$amqp_port" ] ||
		echo "What is due goes through a RabbitMQ broker on 127.0.0.1:$amqp_port."
	"$pgbin/psql" -Xq -v ON_ERROR_STOP=1 -v spacing="$spacing" \
		-f "$home/tools/demo/people.sql"
	say "Nine o'clock moved: it is hours away for most of these people, so each zone" \
		"got message types of its own, whose send_time is what clocks there will" \
		"show a few seconds from now. The rest is the product as it is."
	/usr/bin/python3 -B "$home/tools/demo/watch.py" --psql "$pgbin/psql" \
		--mails "$demo/mail/mails.jsonl"
	[ -z "$amqp_port" ] || show_broker
}

# The counters are the workers' own, the depths what the broker said last.
show_broker() {
	local round
	# A mail may be there before the publisher has noted its copy's confirm.
	for ((round = 0; round < 50; round++)); do
		[ "$(sql 'SELECT published >= consumed FROM bs_broker_stats()')" != t ] ||
			break
		sleep 0.1
	done
	say "Through RabbitMQ: $(sql "SELECT format('%s published and confirmed,'
			' %s consumed, %s refused; %s in the dead letters.',
			published, consumed, refused, coalesce(dead, 0))
		FROM bs_broker_stats()")"
}

# ---- what people type ---------------------------------------------------------

# For root: a copy of what is needed, where the other user cannot read the tree.
choose_home() {
	local copy parts
	rm -f "$place"
	if [ "$(id -u)" != 0 ] || tools/run_as.sh --check; then
		return 0
	fi
	[ "$dir" = build/demo ] || die "--dir does not work here"
	copy=$(mktemp -d /tmp/birthday_scheduler_demo.XXXXXX)
	parts=(build/pg tools test/lib)
	[ "$queue" = postgres ] || parts+=(build/rabbitmq)
	tar -c "${parts[@]}" | tar -x -C "$copy"
	chmod -R u+rwX,a+rX "$copy"
	echo "$copy" >"$place"
	echo "The server's user cannot read $top: the demo runs in $copy."
}

start() {
	local code=0
	spacing='1 second' queue=postgres
	while [ $# -gt 0 ]; do
		case $1 in
		--spacing) spacing=${2:?--spacing takes an interval} ;;
		--queue) queue=${2:?--queue takes postgres or rabbitmq} ;;
		*) die "unknown argument: $1" ;;
		esac
		shift 2
	done
	case $queue in
	postgres | rabbitmq) ;;
	*) die "unknown queue: $queue (postgres or rabbitmq)" ;;
	esac
	find_home
	[ -n "$pgbin" ] || die "build/pg is not there; make demo does all"
	[ "$queue" = postgres ] || [ -f build/rabbitmq/complete ] ||
		die "build/rabbitmq is not there; make demo QUEUE=rabbitmq does all"
	if [ -e "$dir" ] || [ -e "$place" ]; then
		echo "The demo of before is ended and removed."
		stop_all
	fi
	choose_home
	find_home
	if [ "$(id -u)" = 0 ]; then
		"$home/tools/run_as.sh" --own "$dir" \
			tools/demo.sh --dir "$dir" inside-start "$spacing" "$queue" ||
			code=$?
	else
		inside_start || code=$?
	fi
	if [ -r "$demo/ports" ]; then
		# shellcheck source=/dev/null
		. "$demo/ports"
		cat <<-TEXT

			All of it is still running:

			    make psql                          SQL, as the owner: SELECT * FROM bs_status;
			    make seed                          a hundred people more, with a past
			    http://127.0.0.1:$page_port/             the mails, as a page
			    $demo/mail/Maildir
			                                       the mails, as a mailbox
			    $demo/server.log
		TEXT
		[ -z "$amqp_port" ] || cat <<-TEXT
			    $home/tools/private_rabbitmq.sh ctl $demo/broker list_queues
			                                       rabbitmqctl for the broker
		TEXT
		echo "    make demo-stop                     ends it and removes all of that"
	fi
	[ "$code" = 0 ] || echo "The demo failed." >&2
	return "$code"
}

stop() {
	find_home
	if [ ! -e "$demo" ] && [ ! -e "$place" ]; then
		echo "There is no demo."
		return 0
	fi
	stop_all
	echo "The demo is ended and removed."
}

seed() {
	need_running
	"$pgbin/psql" -Xq -v ON_ERROR_STOP=1 -v people="${1:-100}" <<-'SQL'
		SELECT bs_seed(:people) AS "people added";
		SELECT * FROM bs_status \gx
	SQL
	echo "They are mailed at nine by their own clocks; SELECT * FROM bs_upcoming('30 days');"
}

case $command in
start) start "$@" ;;
stop) stop ;;
psql)
	need_running
	exec "$pgbin/psql" "$@"
	;;
seed) seed "$@" ;;
inside-start)
	spacing=$1 queue=$2
	inside_start
	;;
inside-stop) inside_stop ;;
*) die "unknown command: $command (start, psql, seed or stop)" ;;
esac
