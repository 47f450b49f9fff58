#!/usr/bin/env bash
# servers.sh: the tests on every server that is supported, each on the Debian that
# ships it; what "make test-servers" calls.  Needs root.
#
#   tools/servers.sh [--tests 'KIND|FILE|short...'] [SERVER...]
#
# A root for each Debian is made by mmdebstrap and kept in BS_ROOTS (build/roots), so
# that a second run is quick.  A copy of this tree goes into it, "tools/setup.sh"
# installs there what is missing, and the tests run in it, with processes and a network
# of their own.  Without --tests a server gets all kinds, but 19, which is not released
# yet and has no pg_cron: it gets "regress isolation pgtap short".  "short" is the short
# list of cluster tests below.
#
# At the end what was skipped, and why, and a table.  The last line is
# "N passed, N failed"; the exit code is 0 only if all was built without a warning and
# nothing failed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
export DEBIAN_FRONTEND=noninteractive
roots=$(realpath -m "${BS_ROOTS:-build/roots}")
logs=$PWD/build/servers
mirror=${BS_MIRROR:-http://deb.debian.org/debian}
all_servers=(15 17 18 19)
short=(000_test_kit calendar catch_up copy_guard dump_restore delivery_http
	delivery_smtp delivery_trouble partitions_cron planning_concurrency
	queue_copies sender_postgres workers_life workers_stop broker_life
	broker_topology)
asked=
servers=()

die() {
	echo "servers.sh: $*" >&2
	exit 1
}

suite_of() {
	case $1 in
	15) echo bookworm ;;
	17) echo trixie ;;
	18) echo sid ;;
	19) echo experimental ;;
	*) die "no Debian ships server $1: 15, 17, 18 and 19 have one" ;;
	esac
}

while [ $# -gt 0 ]; do
	case $1 in
	--tests)
		asked=${2?which tests?}
		shift 2
		;;
	*)
		suite_of "$1" >/dev/null
		servers+=("$1")
		shift
		;;
	esac
done
[ ${#servers[@]} -gt 0 ] || servers=("${all_servers[@]}")
[ "$(id -u)" = 0 ] || die "root is needed, to make roots of other Debians and work in them"
tools/setup.sh image

# in_root ROOT COMMAND...: with processes of its own, which end with it, and the
# network of this machine; lonely_in_root with its own.
in_root() {
	local root=$1 net=()
	shift
	[ "${lonely-}" = '' ] || net=(--net)
	# shellcheck disable=SC2016  # the inner shell's own words
	unshare --mount --pid "${net[@]}" --fork --kill-child sh -c '
		ip link set lo up 2>/dev/null
		mount -t proc proc "$0/proc"
		mount --rbind /dev "$0/dev"
		mount -t tmpfs shm "$0/dev/shm"
		mount -t tmpfs tmp "$0/tmp"
		chmod 1777 "$0/tmp"
		exec chroot "$0" env -i HOME=/root LC_ALL=C.UTF-8 TERM=dumb \
			PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"' "$root" "$@" </dev/null
}

lonely_in_root() {
	lonely=yes in_root "$@"
}

# make_root SERVER ROOT: nothing but what is on every Debian, git, make and sudo.
make_root() {
	local server=$1 root=$2 suite line
	[ ! -f "$root/complete" ] || return 0
	suite=$(suite_of "$server")
	rm -rf --one-file-system "$root"
	mkdir -p "$roots"
	# The lists of a mirror that is seldom brought up to date are too old for apt.
	case $suite in
	experimental) line="deb $mirror sid main" ;;
	*) line="deb $mirror $suite main" ;;
	esac
	mmdebstrap --quiet --variant=minbase --include=git,make,sudo,ca-certificates,iproute2,procps \
		--aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Dpkg::Use-Pty "0"' \
		"${suite/experimental/sid}" "$root" "$line" || return 1
	if [ "$suite" = experimental ]; then
		echo "deb $mirror experimental main" >"$root/etc/apt/sources.list.d/experimental.list"
		echo 'create_main_cluster = false' >"$root/root/createcluster.conf"
		in_root "$root" sh -ec '
			apt-get -qq update
			apt-get -qq -y install --no-install-recommends postgresql-common
			cp /root/createcluster.conf /etc/postgresql-common/createcluster.conf
			apt-get -qq -y -t experimental install --no-install-recommends \
				postgresql-19 postgresql-server-dev-19 libpq-dev
			cd /root
			apt-get -qq download postgresql-18-pgtap
			dpkg-deb -x postgresql-18-pgtap_*.deb pgtap
			cp pgtap/usr/share/postgresql/18/extension/pgtap* /usr/share/postgresql/19/extension/
		' || return 1
	fi
	touch "$root/complete"
}

# The tree as it is, whatever is committed, and the history, which some tests read.
copy_tree() {
	local top=$1/birthday_scheduler
	mkdir -p "$top"
	find "$top" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
	rm -rf "$top.git"
	git clone -q --bare . "$top.git"
	mv "$top.git" "$top/.git"
	git -C "$top" config core.bare false
	git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
		[ ! -e "$file" ] || printf '%s\0' "$file"
	done | tar -c --null -T - | tar -x -C "$top" --no-same-owner
	chown -R root:root "$top/.git"
	git -C "$top" reset -q
}

tests_of() {
	local word words=${asked:-}
	[ -n "$words" ] || [ "$1" != 19 ] || words='regress isolation pgtap short'
	for word in $words; do
		if [ "$word" = short ]; then
			printf 'test/t/%s.pl\n' "${short[@]}"
		else
			echo "$word"
		fi
	done
}

# one SERVER: a line "server release built passed failed skipped minutes" in a file.
one() {
	local server=$1 suite root log began=$SECONDS built=no passed=0 failed=1 skipped=0
	local counts tests
	suite=$(suite_of "$server")
	root=$roots/$suite
	log=$logs/$server.log
	: >"$log"
	echo "== server $server on Debian's $suite"
	mapfile -t tests < <(tests_of "$server")
	if ! make_root "$server" "$root" >>"$log" 2>&1; then
		tail -n 5 "$log"
		echo "not ok - server $server: no root of $suite could be made from $mirror"
	elif ! { copy_tree "$root" && in_root "$root" sh -c \
		'cd /birthday_scheduler && exec tools/setup.sh build test'; } >>"$log" 2>&1; then
		tail -n 20 "$log"
		echo "not ok - server $server: what the tests need could not be installed"
	else
		# shellcheck disable=SC2016  # the inner shell's own words
		if ! lonely_in_root "$root" sh -c 'cd /birthday_scheduler && make -s -j"$(nproc)" all' \
			>"$logs/$server.build" 2>&1; then
			tail -n 40 "$logs/$server.build"
		elif grep -q 'warning:' "$logs/$server.build"; then
			built=warnings
			grep 'warning:' "$logs/$server.build" | head -n 20
		else
			built=yes
		fi
		if [ "$built" != no ]; then
			lonely_in_root "$root" sh -c 'cd /birthday_scheduler && exec tools/run_tests.sh "$@"' sh \
				"${tests[@]}" 2>&1 | tee -a "$log" || true
			counts=$(awk -F '\t' '{ p += $2; f += $3; s += $4 } END { print p + 0, f + 0, s + 0 }' \
				"$root/birthday_scheduler/build/logs/results.tsv")
			read -r passed failed skipped <<<"$counts"
		fi
	fi
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$server" "$suite" "$built" "$passed" "$failed" "$skipped" \
		$(((SECONDS - began + 30) / 60)) >>"$logs/table"
}

mkdir -p "$logs"
: >"$logs/table"
for server in "${servers[@]}"; do
	one "$server"
done
for server in "${servers[@]}"; do
	sed -n "s/^skipped: /server $server skipped: /p" "$logs/$server.log"
done
awk -F '\t' '
	BEGIN { printf "\n%-7s %-13s %-9s %8s %8s %8s %8s\n", "server", "release", "built",
		"passed", "failed", "skipped", "minutes" }
	{ printf "%-7s %-13s %-9s %8d %8d %8d %8d\n", $1, $2, $3, $4, $5, $6, $7
	  passed += $4; failed += $5; bad += $3 != "yes" }
	END { printf "%d passed, %d failed\n", passed, failed
	  exit failed > 0 || bad > 0 || passed == 0 }' "$logs/table"
