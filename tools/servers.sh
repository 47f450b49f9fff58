#!/usr/bin/env bash
# servers.sh: the tests on every server that is supported, each on the Debian that
# ships it; what "make test-servers" calls.  Needs root.
#
#   tools/servers.sh [--tests 'KIND|FILE|short...'] [SERVER...]
#
# A root for each Debian is made by mmdebstrap and kept in BS_ROOTS (build/roots), so
# that a second run is quick.  A copy of this tree goes into it, "tools/setup.sh"
# installs there what is missing, and the tests run in it, with processes and a network
# of their own.  Without --tests a server gets all kinds; one that is not released yet
# gets "regress isolation pgtap short".  "short" is the short list of cluster tests below.
# On a busy machine BS_TEST_SLOWNESS=3 gives every test three times as long.
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
. tools/supported.sh
. tools/roots.sh
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

while [ $# -gt 0 ]; do
	case $1 in
	--tests)
		asked=${2?which tests?}
		shift 2
		;;
	*)
		suite_of "$1" >/dev/null ||
			die "no Debian ships server $1; there are ${supported_servers[*]} ${coming_servers[*]}"
		servers+=("$1")
		shift
		;;
	esac
done
[ ${#servers[@]} -gt 0 ] || servers=("${supported_servers[@]}" "${coming_servers[@]}")
[ "$(id -u)" = 0 ] || die "root is needed, to make roots of other Debians and work in them"
tools/setup.sh image

# make_root SERVER ROOT: nothing but what is on every Debian, git, make and sudo.
make_root() {
	local server=$1 root=$2 suite
	[ ! -f "$root/complete" ] || return 0
	suite=$(suite_of "$server")
	rm -rf --one-file-system "$root"
	mkdir -p "$roots"
	make_debian "${suite/experimental/sid}" "$root" git,make,sudo,ca-certificates,iproute2,procps ||
		return 1
	[ "$suite" != experimental ] || add_experimental "$server" "$root" || return 1
	touch "$root/complete"
}

# add_experimental SERVER ROOT: experimental stands on sid.  Of it only what is built
# with the server is taken.  pgTAP is SQL, and that of the server before will do.
add_experimental() {
	local server=$1 root=$2 older=$(($1 - 1))
	echo "deb $mirror experimental main" >"$root/etc/apt/sources.list.d/experimental.list"
	printf '%s\n' "Package: src:postgresql-$server" 'Pin: release a=experimental' \
		'Pin-Priority: 500' >"$root/etc/apt/preferences.d/experimental"
	in_root "$root" sh -ec "
		cd /root
		apt-get -qq update
		apt-get -qq download postgresql-$older-pgtap
		dpkg-deb -x postgresql-$older-pgtap_*.deb pgtap
		mkdir -p /usr/share/postgresql/$server/extension
		cp pgtap/usr/share/postgresql/$older/extension/pgtap* /usr/share/postgresql/$server/extension/
	"
}

tests_of() {
	local word words=${asked:-}
	if [ -z "$words" ] && [[ " ${coming_servers[*]} " == *" $1 "* ]]; then
		words='regress isolation pgtap short'
	fi
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
	elif ! { copy_tree "$root" && in_root "$root" \
		env PG_CONFIG="/usr/lib/postgresql/$server/bin/pg_config" \
		sh -c 'cd /birthday_scheduler && exec tools/setup.sh build test'; } >>"$log" 2>&1; then
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
			lonely_in_root "$root" env BS_TEST_SLOWNESS="${BS_TEST_SLOWNESS:-1}" \
				sh -c 'cd /birthday_scheduler && exec tools/run_tests.sh "$@"' sh \
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
