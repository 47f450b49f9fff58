#!/usr/bin/env bash
# private_rabbitmq.sh: a RabbitMQ broker of our own, in a folder of its own.
#
#   tools/private_rabbitmq.sh start DIR [OPTION...]   starts it, prints its URL
#   tools/private_rabbitmq.sh stop DIR       ends it; what it holds stays in DIR
#   tools/private_rabbitmq.sh kill9 DIR      the same without a chance to tidy up
#   tools/private_rabbitmq.sh pause DIR      stops its processes with SIGSTOP
#   tools/private_rabbitmq.sh resume DIR     and lets them go on
#   tools/private_rabbitmq.sh ctl DIR ARGUMENT...     rabbitmqctl
#   tools/private_rabbitmq.sh eval DIR EXPRESSION     asks the broker in Erlang:
#                        prints the answer; in milliseconds, where ctl takes a second
#   tools/private_rabbitmq.sh url DIR        prints the URL again
#   tools/private_rabbitmq.sh tls-url DIR    the one of the TLS listener
#   tools/private_rabbitmq.sh pid DIR        prints the broker's process id; fails
#                                            if it does not run
#
# Options for the first start in a folder; later ones take what the first was told:
#
#   --tls CERTIFICATE KEY    listens for TLS as well, on another port
#   --user NAME              a user with a random password and all rights, who is
#                            in the URL, instead of guest
#   --cluster DIR            a node of the cluster whose nodes have this folder in
#                            common: it joins the one that was first
#   --host NAME              a name of this machine, without dots, that stands for an
#                            address: the node is called by it and, like its epmd,
#                            listens there instead of on the loopback interface
#   --conf LINE              a line for rabbitmq.conf, instead of ours for that key;
#                            may be repeated
#
# A start after "stop" or "kill9" finds the same data and ports.  Any number of
# brokers run side by side, in folders of any name: each has its own ports below
# those that the system gives to clients, its own epmd and cookie, all bound to
# the loopback interface only.  Nothing of a machine's own broker is read.
#
# The nodes of a cluster share a cookie and, but for those with a --host, an epmd in
# that other folder; "stop" with it, once its nodes are stopped, ends the epmd.
#
# DIR holds: url, tls-url, settings (ports), pid, epmd.pid, rabbitmq.conf,
# broker.log, data/, home/.  Root's brokers run as the owner of DIR, or for a
# new one as the user "postgres" or "nobody".
#
# tools/unpack.sh rabbitmq must have been run (tools/setup.sh test does that).
set -euo pipefail

self=$(readlink -f "${BASH_SOURCE[0]}")
top=$(dirname "$(dirname "$self")")
umask 022
limit=${BS_BROKER_SECONDS:-60}

die() {
	echo "private_rabbitmq.sh: $*" >&2
	exit 1
}

[ $# -ge 2 ] || die "usage: start|stop|kill9|pause|resume|ctl|eval|url|tls-url|pid DIR"
command=$1
case $2 in
/*) dir=$2 ;;
*) dir=$PWD/$2 ;;
esac
dir=$(realpath -m "$dir")
shift 2

# ---- by whom ---------------------------------------------------------------

give_up_root() {
	local user=nobody
	! id postgres >/dev/null 2>&1 || user=postgres
	if [ -d "$dir" ] && [ "$(stat -c %u "$dir")" != 0 ]; then
		user=$(stat -c %U "$dir")
	fi
	if [ "$command" = start ]; then
		mkdir -p "$dir"
		chown "$user:" "$dir"
	fi
	[ -d "$dir" ] || die "there is no broker in $dir"
	as_user=(env -u TMPDIR -u XDG_RUNTIME_DIR -u XDG_CONFIG_HOME
		USER="$user" LOGNAME="$user" setpriv --reuid="$user"
		--regid="$(id -g "$user")" --init-groups --inh-caps=-all)
	"${as_user[@]}" test -r "$self" -a -x "$dir" ||
		die "$user cannot read $top or enter $dir; see tools/run_as.sh"
	exec "${as_user[@]}" "$self" "$command" "$dir" "$@"
}

# Somebody may have removed the folder of a broker that runs.
gone=
[ "$command" != stop ] || [ -f "$dir/settings" ] || gone=yes
[ "$(id -u)" != 0 ] || [ -n "$gone" ] || give_up_root "$@"

tools=$top/build/rabbitmq
[ -f "$tools/complete" ] || die "no RabbitMQ in $tools; run tools/unpack.sh rabbitmq"
[ "$command" = start ] || [ -n "$gone" ] || [ -f "$dir/settings" ] ||
	die "there is no broker in $dir"

# ---- the Erlang environment --------------------------------------------------

# Everything that would lead to files of the machine's own broker is named here.
set_environment() {
	host=localhost address=127.0.0.1
	# shellcheck source=/dev/null
	. "$dir/settings"
	unset "${!RABBITMQ_@}" "${!ERL_@}"
	export HOME=$dir/home BS_BROKER=$dir
	export ROOTDIR=$tools/erlang EMU=beam PROGNAME=erl
	BINDIR=$(echo "$tools"/erlang/erts-*/bin)
	export BINDIR
	export ERL_LIBS=$tools/server/plugins
	export ERL_EPMD_PORT=$epmd_port ERL_EPMD_ADDRESS=$address
	export RABBITMQ_HOME=$tools/server
	export RABBITMQ_NODENAME=$node@$host
	export RABBITMQ_DIST_PORT=$dist_port
	export RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_MOTD_FILE=/dev/null
	export RABBITMQ_CONFIG_FILE=$dir/rabbitmq.conf
	export RABBITMQ_CONFIG_FILES=$dir/conf.d
	export RABBITMQ_ADVANCED_CONFIG_FILE=$dir/advanced.config
	export RABBITMQ_ENABLED_PLUGINS_FILE=$dir/enabled_plugins
	export RABBITMQ_MNESIA_BASE=$dir/data RABBITMQ_LOG_BASE=$dir
	case $dir in
	# It hands this to a shell, as it is, to see how full the disk is.
	*[![:alnum:]/_.-]*) RABBITMQ_MNESIA_BASE=/proc/self/cwd/data ;;
	esac
	export RABBITMQ_GENERATED_CONFIG_DIR=$dir/data/conf
	export RABBITMQ_PID_FILE=$dir/pid
}

# evaluate EXPRESSION: its answer, a string, is printed.
evaluate() {
	local answer erl_call
	erl_call=$(echo "$tools"/erlang/lib/erl_interface-*/bin/erl_call)
	answer=$(printf '%s.\n' "$1" | "$erl_call" \
		-address "$address:$dist_port" -timeout "${2:-10}" -e 2>&1) || {
		echo "$answer" >&2
		return 1
	}
	case $answer in
	'{ok, '*'}') answer=${answer#'{ok, '} && answer=${answer%'}'} ;;
	*)
		echo "$answer" >&2
		return 1
		;;
	esac
	case $answer in
	\"*\") answer=${answer#\"} && answer=${answer%\"} ;;
	esac
	printf '%s\n' "$answer"
}

ctl() {
	local escript=$tools/server/escript/rabbitmqctl main
	# It has another name in each series, which the file's head tells.
	main=$(head -n 3 "$escript" | tr -d '\0' |
		LC_ALL=C sed -n 's/^%%! -escript main \([^ ]*\).*/\1/p')
	cd "$dir"
	exec "$BINDIR/erlexec" +B -boot start_clean -noinput -noshell -hidden \
		-smp enable +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none \
		-kernel inet_dist_use_interface "{${address//./,}}" \
		-run escript start -escript main "$main" -extra "$escript" "$@"
}

# ---- processes ---------------------------------------------------------------

# pid_of FILE NAME: the process that FILE names, if it is ours and no zombie.
pid_of() {
	local pid
	pid=$(cat "$dir/$1" 2>/dev/null) && [ -n "$pid" ] &&
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] &&
		grep -qzxF "BS_BROKER=$dir" "/proc/$pid/environ" 2>/dev/null &&
		echo "$pid"
}

# The process that FILE names has ended; one that has yet to become what it shall
# be, a shell that is about to run the broker, has not.
ended() {
	local pid
	pid=$(cat "$dir/$1" 2>/dev/null) && [ -n "$pid" ] &&
		! readlink "/proc/$pid/cwd" >/dev/null 2>&1
}

broker_pid() { pid_of pid beam.smp; }
epmd_pid() { pid_of epmd.pid epmd; }

# end PID SIGNAL SECONDS: false if it is there after that.  What has ended and is
# waited for by nobody counts as gone.
end_process() {
	local round
	kill "-$2" "$1" 2>/dev/null || true
	for ((round = 0; round < $3 * 50; round++)); do
		[ -e "/proc/$1/cwd" ] && readlink "/proc/$1/cwd" >/dev/null 2>&1 ||
			return 0
		sleep 0.02
	done
	return 1
}

# All that was started for this broker and runs, a process id a line: the mark is
# handed on to every descendant, and zombies have none.  Our own children have it
# in "start" only.
marked() {
	grep -lzxF "BS_BROKER=$dir" /proc/[0-9]*/environ 2>/dev/null |
		cut -d / -f 3
}

# What a start that was cut short has left, or a port program that did not notice
# its broker's end.
sweep() {
	local round found
	for ((round = 0; round < 100; round++)); do
		mapfile -t found < <(marked)
		[ ${#found[@]} -gt 0 ] || return 0
		# a moment to go by themselves
		[ "$round" -lt 10 ] || kill -KILL "${found[@]}" 2>/dev/null || true
		sleep 0.05
	done
	die "these processes do not end: ${found[*]}"
}

end_broker() {
	local pid
	if pid=$(broker_pid); then
		# One that is paused has to go on to end in good order.
		if [ "$1" = KILL ] ||
			! { kill -CONT "$pid" 2>/dev/null; end_process "$pid" TERM 30; }; then
			end_process "$pid" KILL 10 || die "process $pid does not end"
		fi
	fi
	rm -f "$dir/pid"
}

end_epmd() {
	local pid
	if pid=$(epmd_pid); then
		end_process "$pid" TERM 5 || end_process "$pid" KILL 5 ||
			die "process $pid does not end"
	fi
	rm -f "$dir/epmd.pid"
}

# detached FILE COMMAND...: in a session of its own, without our descriptors; its
# id goes to FILE.
detached() {
	local file=$1
	shift
	(
		exec </dev/null >>"$dir/output.log" 2>&1
		for fd in /proc/self/fd/*; do
			fd=${fd##*/}
			[ "$fd" -le 2 ] || eval "exec $fd>&-" 2>/dev/null || true
		done
		cd "$dir"
		# shellcheck disable=SC2016  # the inner shell writes its own id
		exec setsid sh -c 'echo $$ >"$0" && exec "$@"' "$file" "$@"
	) &
}

# ---- start -------------------------------------------------------------------

listens() {
	(exec 3<>"/dev/tcp/$address/$1") 2>/dev/null
}

# Below 32768: no client's socket can take them while the broker is down.
free_ports() {
	local port found=() tries
	for ((tries = 0; tries < 1000 && ${#found[@]} < $1; tries++)); do
		port=$((10000 + (RANDOM * 32768 + RANDOM) % 22000))
		listens "$port" || [[ " ${found[*]} " == *" $port "* ]] ||
			found+=("$port")
	done
	[ ${#found[@]} = "$1" ] || die "no free ports"
	echo "${found[*]}"
}

random_word() {
	od -An -N 16 -tx1 /dev/urandom | tr -d ' \n'
}

# The lines of rabbitmq.conf that stand unless --conf has one for their key.
our_conf() {
	cat <<-CONF
		listeners.tcp.1 = $address:$port
		log.console = false
		log.file = broker.log
		log.file.level = info
		default_user = $user
		default_pass = $password
		vm_memory_high_watermark.absolute = 1GB
		disk_free_limit.absolute = 50MB
		raft.wal_max_size_bytes = 67108864
	CONF
	[ -z "$tls" ] || cat <<-CONF
		listeners.ssl.1 = $address:$tls_port
		ssl_options.certfile = $dir/home/certificate.pem
		ssl_options.keyfile = $dir/home/key.pem
		ssl_options.verify = verify_none
		ssl_options.fail_if_no_peer_cert = false
	CONF
}

write_conf() {
	local line key
	{
		while read -r line; do
			key=${line%% =*}
			[[ $'\n'$extra != *$'\n'"$key ="* &&
				$'\n'$extra != *$'\n'"$key="* ]] || continue
			printf '%s\n' "$line"
		done < <(our_conf)
		printf '%s' "$extra"
	} >"$dir/rabbitmq.conf"
	chmod 600 "$dir/rabbitmq.conf"
	printf '%s\n' "port=$port" "dist_port=$dist_port" "epmd_port=$epmd_port" \
		"tls_port=$tls_port" "node=$node" "host=$host" "address=$address" \
		"cluster='$cluster'" >"$dir/settings"
	(umask 077 && echo "amqp://$user:$password@$address:$port" >"$dir/url")
	[ -z "$tls" ] ||
		(umask 077 && echo "amqps://$user:$password@$address:$tls_port" >"$dir/tls-url")
}

first_start() {
	user=guest password=guest tls='' extra='' cluster='' node=broker
	host=localhost address=127.0.0.1
	while [ $# -gt 0 ]; do
		case $1 in
		--tls)
			tls=yes
			mkdir -p "$dir/home"
			cat "${2:?--tls takes a certificate}" >"$dir/home/certificate.pem"
			(umask 077 && cat "${3:?--tls takes a key}" >"$dir/home/key.pem")
			shift 3
			;;
		--user)
			user=${2:?--user takes a name}
			password=$(random_word)
			shift 2
			;;
		--cluster)
			cluster=$(realpath -m "${2:?--cluster takes a folder}")
			shift 2
			;;
		--host)
			host=${2:?--host takes a name}
			address=$(getent ahostsv4 "$host" | awk 'NR == 1 { print $1 }')
			[ -n "$address" ] || die "$host stands for no address"
			shift 2
			;;
		--conf)
			extra+=${2:?--conf takes a line}$'\n'
			shift 2
			;;
		*) die "unknown option: $1" ;;
		esac
	done
	mkdir -p "$dir/home" "$dir/data"
	[ -f "$dir/home/.erlang.cookie" ] || (
		umask 077
		random_word >"$dir/home/.erlang.cookie"
		chmod 400 "$dir/home/.erlang.cookie"
	)
	read -r port dist_port epmd_port tls_port < <(free_ports 4)
	[ -z "$cluster" ] || share_cluster
	write_conf
}

# The first node makes what the others find there.
share_cluster() {
	node=node$port
	if [ ! -f "$cluster/settings" ]; then
		mkdir -p "$cluster/home"
		cp -p "$dir/home/.erlang.cookie" "$cluster/home/"
		printf '%s\n' "port=$port" "dist_port=$dist_port" "tls_port=$tls_port" \
			"epmd_port=$epmd_port" "node=$node" "host=$host" \
			"address=$address" "cluster=" >"$cluster/settings"
	fi
	epmd_port=$(sed -n 's/^epmd_port=//p' "$cluster/settings")
	cp -fp "$cluster/home/.erlang.cookie" "$dir/home/"
}

# A node that is new joins the first one, before it has anything of its own.
join_cluster() {
	local first
	[ -n "${cluster-}" ] || return 0
	# shellcheck source=/dev/null
	first=$(. "$cluster/settings" && echo "$node@$host")
	[ "$first" != "$node@$host" ] || return 0
	(ctl --quiet stop_app) && (ctl --quiet join_cluster "$first") &&
		(ctl --quiet start_app) && wait_until_up
}

start_epmd() {
	local round
	# That of a cluster outlives each of its nodes on this address.
	if [ -n "${cluster-}" ] && [ "$host" = localhost ]; then
		"$self" epmd "$cluster"
		return
	fi
	if ! epmd_pid >/dev/null; then
		detached epmd.pid "$BINDIR/epmd"
	fi
	for ((round = 0; round < 250; round++)); do
		if epmd_pid >/dev/null && listens "$epmd_port"; then
			return 0
		fi
		sleep 0.02
	done
	return 1
}

# As the package's own script does, with schedulers that neither spin nor are
# bound to a processor, as there may be several brokers.
start_broker() {
	local more=()
	# A node that says nothing is down after ten seconds, not after a minute.
	[ -z "${cluster-}" ] || more=(-kernel net_ticktime 8)
	detached pid "$BINDIR/erlexec" -pa '' -noinput -s rabbit boot \
		-boot start_sasl -start_epmd false +W w \
		+MBas ageffcbf +MHas ageffcbf +MBlmbcs 512 +MHlmbcs 512 +MMmcs 30 \
		+P 1048576 +t 5000000 +S 2:2 +stbt u +zdbbl 128000 \
		+sbwt none +sbwtdcpu none +sbwtdio none \
		-syslog logger '[]' -syslog syslog_error_logger false \
		-kernel prevent_overlapping_partitions false \
		-kernel inet_dist_use_interface "{${address//./,}}" "${more[@]}"
}

# Up means that it takes connections.
wait_until_up() {
	local deadline=$((SECONDS + limit))
	while [ "$SECONDS" -lt "$deadline" ]; do
		if [ "$(evaluate 'rabbit:is_booted(node())' 2 2>/dev/null)" = true ] &&
			listens "$port"; then
			return 0
		fi
		! ended pid || return 1
		sleep 0.1
	done
	return 1
}

bring_up() {
	set_environment
	mkdir -p "$dir/data"
	if ! broker_pid >/dev/null; then
		rm -f "$dir/pid"
		start_epmd || return 1
		start_broker
	fi
	wait_until_up
}

start() {
	local round fresh=
	if [ ! -f "$dir/settings" ]; then
		fresh=yes
		mkdir -p "$dir"
		first_start "$@"
	fi
	# Somebody else may have taken a port that was free when we looked.
	for round in 1 2 3; do
		if bring_up && { [ -z "$fresh" ] || join_cluster; }; then
			cat "$dir/url"
			return 0
		fi
		end_broker KILL
		end_epmd
		[ -n "$fresh" ] || break
		grep -qs -e eaddrinuse -e 'Address already in use' \
			"$dir/broker.log" "$dir/output.log" || break
		rm -rf "$dir/data"
		first_start "$@"
	done
	tail -n 20 "$dir/broker.log" "$dir/output.log" >&2 2>/dev/null || true
	die "the broker in $dir did not start"
}

stop() {
	if [ -z "$gone" ]; then
		end_broker TERM
		end_epmd
	fi
	sweep
}

signal() {
	local pid
	pid=$(broker_pid) || die "the broker in $dir does not run"
	kill "-$1" "$pid"
}

case $command in
start) start "$@" ;;
stop) stop ;;
kill9) end_broker KILL ;;
pause) signal STOP ;;
resume) signal CONT ;;
pid) broker_pid ;;
epmd) # of a cluster's folder, for its nodes
	set_environment
	start_epmd
	;;
url) cat "$dir/url" ;;
tls-url) cat "$dir/tls-url" ;;
ctl)
	set_environment
	ctl "$@"
	;;
eval)
	set_environment
	evaluate "$@"
	;;
*) die "unknown command: $command" ;;
esac
