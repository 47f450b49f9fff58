#!/usr/bin/env bash
# test_kinds.sh: the tests that run code of ours, as a user that is not root.
#
# Called by tools/run_tests.sh through tools/run_as.sh, with kinds and files as
# there; everything is compiled and build/pg is ready.  Adds a line for each kind
# to build/logs/results.tsv: kind, passed, failed, skipped, seconds.
#
# regress, isolation and pgtap share one server, reached by a socket only.  The
# kinds have a time limit, each test too where there is a choice.  At the end
# nothing runs any more: a process that stands in the scratch folder, or bears
# the mark of this run, is taken for a leftover and ended.
set -euo pipefail

top=$PWD
pg_config=${PG_CONFIG:-pg_config}
# For tests that build: the server that is tested is a copy without headers.
BS_PG_CONFIG=$(command -v "$pg_config" || true)
export BS_PG_CONFIG
scratch=$top/build/scratch
logs=$top/build/logs
pgbin=$top/build/${BS_PG_TREE:-pg}$("$pg_config" --bindir)
# Under valgrind everything may take so many times as long.
slowness=${BS_TEST_SLOWNESS:-1}
pgxs=$(dirname "$("$pg_config" --pgxs)")/../test
server=$scratch/server
sockets=$(mktemp -d /tmp/bs_test.XXXXXX)
mark=BS_TEST_RUN=$$.$RANDOM
child=
server_state=none
kinds=()
files=()

unset "${!PG@}" MAKEFLAGS MAKELEVEL
# Sockets want a short path, and the folder is removed whatever happens.
export PATH=$pgbin:$PATH LC_MESSAGES=C TMPDIR=$sockets
export PGCTLTIMEOUT=$((60 * slowness)) BS_TEST_SLOWNESS=$slowness
if [ "${BS_PG_TREE-}" = pg-valgrind ]; then
	export BS_VALGRIND_LOGS=$logs/valgrind BS_VALGRIND_SUPP=$top/tools/valgrind.supp
	mkdir -p "$BS_VALGRIND_LOGS"
fi

report() {
	printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$logs/results.tsv"
}

# Each file of the kind that is to run, a line each, in the order of the C locale:
# those that were asked for, or all.
files_of() {
	local pattern=$1 file all=yes
	for file in "${files[@]}"; do
		[ "${file%/*}" != "${pattern%/*}" ] || all=
		# shellcheck disable=SC2053  # it is a pattern
		[[ $file != $pattern ]] || echo "$file"
	done
	[ -z "$all" ] || compgen -G "$pattern" | LC_ALL=C sort || true
}

# limited SECONDS LOG COMMAND...: shows the log while it grows.
limited() {
	local limit=$(($1 * slowness)) log=$2 code=0 viewer
	shift 2
	: >"$log"
	env "$mark" timeout -k 20 "$limit" "$@" >"$log" 2>&1 </dev/null &
	child=$!
	tail -s 0.1 -n +1 -f --pid="$child" "$log" &
	viewer=$!
	wait "$child" || code=$?
	child=
	wait "$viewer" || true
	if [ "$code" = 124 ] || [ "$code" = 137 ]; then
		echo "---- ended by its time limit of $limit s"
	fi
	return "$code"
}

show_end() {
	echo "---- last lines of $1"
	tail -n 40 "$1"
}

# ---- leftovers -----------------------------------------------------------

is_leftover() {
	local pid=$1 cwd
	[ "$pid" != $$ ] || return 1
	cwd=$(readlink "/proc/$pid/cwd" 2>/dev/null) || return 1
	[[ $cwd == "$scratch"/* ]] ||
		grep -qzx "$mark" "/proc/$pid/environ" 2>/dev/null
}

leftovers() {
	local entry
	for entry in /proc/[0-9]*; do
		! is_leftover "${entry#/proc/}" || echo "${entry#/proc/}"
	done
}

# QUIT first: it lets a server end its children and free its shared memory.
sweep() {
	local pid found round
	mapfile -t found < <(leftovers)
	[ ${#found[@]} -gt 0 ] || return 0
	for pid in "${found[@]}"; do
		echo "left running: $pid $(tr '\0' ' ' 2>/dev/null \
			<"/proc/$pid/cmdline" || true)"
	done 2>/dev/null
	kill -QUIT "${found[@]}" 2>/dev/null || true
	for ((round = 0; round < 10; round++)); do
		sleep 0.3
		mapfile -t found < <(leftovers)
		[ ${#found[@]} -gt 0 ] || return 0
	done
	kill -KILL "${found[@]}" 2>/dev/null || true
}

finish() {
	local code=$?
	trap - EXIT
	if [ -n "$child" ]; then
		kill "$child" 2>/dev/null || true
		wait "$child" || true
	fi
	stop_server
	sweep
	rm -rf "$sockets"
	exit "$code"
}
trap finish EXIT
trap 'exit 143' INT TERM HUP

# ---- the shared server ----------------------------------------------------

stop_server() {
	if [ "$server_state" = up ]; then
		server_state=none
		pg_ctl -D "$server" -m fast -t $((30 * slowness)) stop >/dev/null 2>&1 || {
			echo "the server did not stop in time"
			pg_ctl -D "$server" -m immediate stop >/dev/null 2>&1 || true
		}
	fi
}

# Starts it when the first kind asks; fails, with its log shown, if it cannot.
need_server() {
	[ "$server_state" != up ] || return 0
	[ "$server_state" = none ] || return 1
	server_state=broken
	export PGHOST=$sockets PGPORT=5432 PGUSER=postgres
	if ! timeout 120 initdb -D "$server" -A trust -N -U postgres \
		--encoding=UTF8 --locale=C.UTF-8 >"$logs/initdb.log" 2>&1; then
		cat "$logs/initdb.log"
		return 1
	fi
	cat >>"$server/postgresql.conf" <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$sockets'
		port = 5432
		shared_preload_libraries = 'birthday_scheduler'
		fsync = off
		max_worker_processes = 16
		timezone = 'UTC'
		log_timezone = 'UTC'
		log_line_prefix = '%m [%p] %q%d %a '
	CONF
	[ ! -f test/server.conf ] ||
		cat test/server.conf >>"$server/postgresql.conf"
	if ! env "$mark" timeout $((90 * slowness)) pg_ctl -D "$server" \
		-l "$logs/server.log" -w start >"$logs/pg_ctl.log" 2>&1 </dev/null; then
		cat "$logs/pg_ctl.log"
		show_end "$logs/server.log"
		return 1
	fi
	server_state=up
}

# ---- the kinds ------------------------------------------------------------

# run_prove KIND LIMIT JOBS COMMAND TEST...: TAP by prove, JOBS at a time, each test run by
# the words of COMMAND.  What each said stays below $logs/KIND.
run_prove() {
	local kind=$1 limit=$2 jobs=$3 command=$4
	shift 4
	PERL_TEST_HARNESS_DUMP_TAP=$logs/$kind limited "$limit" "$logs/$kind.log" \
		prove --timer --nocolor --jobs "$jobs" --exec "$command" "$@" || true
	tap_counts "$kind" "$@"
}

# tap_counts KIND TEST...: counts, says why tests were skipped, and shows the end of what
# failing ones said.  A test that ends badly without a failed assertion (a crash, a wrong
# plan, the time limit) counts as one failure: prove's summary has a line for each.
tap_counts() {
	local kind=$1 log=$logs/$1.log said=$logs/$1 test count
	shift
	for test in "$@"; do
		[ ! -f "$said/$test" ] || awk -v test="$test" '
			/^(ok|1\.\.0).*# *[Ss][Kk][Ii][Pp]/ {
				print "skip"
				sub(/.*# *[Ss][Kk][Ii][Pp][^ ]* */, "")
				if (!seen[$0]++) print "skipped: " test ": " $0
				next }
			/^ok / { print "ok" }' "$said/$test"
	done >"$scratch/$kind.said"
	grep '^skipped: ' "$scratch/$kind.said" | tee -a "$log" || true
	passed=$(grep -cx ok "$scratch/$kind.said" || true)
	skipped=$(grep -cx skip "$scratch/$kind.said" || true)
	bad_tests=()
	while read -r test count; do
		failed=$((failed + (count > 0 ? count : 1)))
		bad_tests+=("$test")
		echo "not ok - $test" >>"$logs/failures"
		echo "---- $test said:"
		[ ! -f "$said/$test" ] || grep -v '^ok ' "$said/$test" | tail -n 60 || true
	done < <(sed -nE 's/^([^ ]+) +\(Wstat: .* Tests: [0-9]+ Failed: ([0-9]+)\)$/\1 \2/p' "$log")
	[ "$failed" != 0 ] || grep -q '^Result: PASS' "$log" || failed=1
}

kind_unit() {
	local programs=() source
	while read -r source; do
		programs+=("build/unit/$(basename "$source" .c)")
	done < <(files_of 'test/unit/test_*.c')
	mapfile -t -O ${#programs[@]} programs < <(files_of 'test/unit/*.py')
	[ ${#programs[@]} -gt 0 ] || return 0
	run_prove unit 600 "$(nproc)" 'timeout -k 15 120' "${programs[@]}"
}

fuzz_one() {
	local name=$1 seconds=$2 log=$logs/$1.log work=$scratch/fuzz/$1
	local options=()
	mkdir -p "$work"
	if [ -d "test/fuzz/corpus/${name#fuzz_}" ]; then
		cp -r "test/fuzz/corpus/${name#fuzz_}/." "$work/"
	fi
	[ ! -f "test/fuzz/$name.dict" ] ||
		options+=("-dict=test/fuzz/$name.dict")
	env "$mark" timeout -k 10 $((seconds + 60)) "build/fuzz/$name" \
		-max_total_time="$seconds" -max_len=4096 -timeout=10 \
		-rss_limit_mb=2048 -print_final_stats=1 \
		-artifact_prefix="$logs/$name-" "${options[@]}" "$work" \
		>"$log" 2>&1 </dev/null
}

kind_fuzz() {
	local seconds=${FUZZ_SECONDS:-10} names=() source name pids=() i runs
	while read -r source; do
		names+=("$(basename "$source" .c)")
	done < <(files_of 'test/fuzz/fuzz_*.c')
	for ((i = 0; i < ${#names[@]}; i++)); do
		# as many at a time as there are processors
		if [ "$i" -ge "$(nproc)" ]; then
			wait "${pids[i - $(nproc)]}" || true
		fi
		fuzz_one "${names[i]}" "$seconds" &
		pids+=($!)
	done
	for ((i = 0; i < ${#names[@]}; i++)); do
		name=${names[i]}
		if wait "${pids[i]}"; then
			passed=$((passed + 1))
			runs=$(sed -n 's/^stat::number_of_executed_units: *//p' \
				"$logs/$name.log")
			echo "ok - $name, ${runs:-?} runs"
		else
			failed=$((failed + 1))
			echo "not ok - $name" | tee -a "$logs/failures"
			tail -n 60 "$logs/$name.log"
		fi
	done
}

# installcheck KIND VARIABLE PATTERN SUFFIX: the Makefile's installcheck, with the names
# of the files in VARIABLE, and nothing else.
installcheck() {
	local kind=$1 names=() file out=$scratch/$1 code=0 log=$logs/$1.log
	while read -r file; do
		names+=("$(basename "$file" "$4")")
	done < <(files_of "$3")
	[ ${#names[@]} -gt 0 ] || return 0
	failed=1
	need_server || return 0
	mkdir -p "$out"
	ln -sfn "$top/expected" "$out/expected"
	limited 600 "$log" make -s PG_CONFIG="$pgbin/pg_config" \
		TEST_OUTPUT="$out" PGTAP= REGRESS= ISOLATION= TAP_TESTS= "$2=${names[*]}" installcheck || code=$?
	# of pg_regress of server 15 ("... ok") and later ones ("ok 1")
	passed=$(grep -cE '\.\.\. ok( |$)|^ok [0-9]' "$log" || true)
	failed=$(grep -cE '\.\.\. FAILED|^not ok [0-9]' "$log" || true)
	[ "$code" = 0 ] || [ "$failed" != 0 ] || failed=1
	if [ "$failed" != 0 ]; then
		if [ -s "$out/regression.diffs" ]; then
			cp "$out/regression.diffs" "$logs/$kind.diffs"
			head -n 300 "$logs/$kind.diffs"
		fi
		show_end "$logs/server.log"
	fi
}

kind_regress() {
	installcheck regress REGRESS 'test/sql/*.sql' .sql
}

kind_isolation() {
	installcheck isolation ISOLATION 'test/specs/*.spec' .spec
}

kind_pgtap() {
	local scripts
	mapfile -t scripts < <(files_of 'test/pgtap/*.sql')
	[ ${#scripts[@]} -gt 0 ] || return 0
	failed=1
	need_server || return 0
	failed=0
	PERL_TEST_HARNESS_DUMP_TAP=$logs/pgtap limited 600 "$logs/pgtap.log" make -s \
		PG_CONFIG="$pgbin/pg_config" PGTAP="${scripts[*]}" installcheck-pgtap || true
	tap_counts pgtap "${scripts[@]}"
	[ "$failed" = 0 ] || show_end "$logs/server.log"
}

kind_tap() {
	local scripts test log
	mapfile -t scripts < <(files_of 'test/t/*.pl')
	[ ${#scripts[@]} -gt 0 ] || return 0
	mkdir -p "$scratch/tap" "$scratch/ports"
	PG_REGRESS=$pgxs/regress/pg_regress TESTDIR=$scratch/tap \
		TESTDATADIR=$scratch/tap/tmp_check TESTLOGDIR=$scratch/tap/tmp_check/log \
		PG_TEST_PORT_DIR=$scratch/ports PG_TEST_TIMEOUT_DEFAULT=$((60 * slowness)) \
		run_prove tap "${TAP_LIMIT:-2400}" "${TAP_JOBS:-3}" \
		"timeout -k 15 $((300 * slowness)) perl -I$top/test/lib -I$pgxs/perl" "${scripts[@]}"
	cp "$scratch/tap/tmp_check/log/"* "$logs/tap/" 2>/dev/null || true
	for test in "${bad_tests[@]}"; do
		test=$(basename "$test" .pl)
		for log in "$logs/tap/regress_log_$test" "$logs/tap/$test"_*.log; do
			[ ! -f "$log" ] || show_end "$log"
		done
	done
}

# chaos_one NAME ARGUMENT...
chaos_one() {
	local name=$1
	shift
	env "$mark" timeout -k 20 400 /usr/bin/python3 -B test/chaos/chaos.py \
		--out "$scratch/chaos/$name" "$@" >"$logs/chaos-$name.log" 2>&1 \
		</dev/null
}

# The failpoints, which come in an order of their own, beside what is random; the
# first figure of a log is the seed.
kind_chaos() {
	local seed=${CHAOS_SEED:-$RANDOM} names=() pids=() queue i
	for queue in postgres rabbitmq; do
		chaos_one "storm-$queue" --queue "$queue" --seed "$seed" \
			--faults 25 --messages 4000 storm &
		pids+=($!)
		chaos_one "failpoints-$queue" --queue "$queue" --seed "$seed" \
			--action kill9 --hit 1 failpoints &
		pids+=($!)
		names+=("storm-$queue" "failpoints-$queue")
		# two at a time
		wait "${pids[@]: -2}" || true
	done
	for ((i = 0; i < ${#names[@]}; i++)); do
		if wait "${pids[i]}"; then
			passed=$((passed + 1))
			echo "ok - ${names[i]}, seed $seed"
		else
			failed=$((failed + 1))
			echo "not ok - ${names[i]}" | tee -a "$logs/failures"
			tail -n 100 "$logs/chaos-${names[i]}.log"
		fi
	done
}

# Every process that lived under valgrind is a test: has it an error with a frame
# of ours, or of libcurl, which nobody else calls?
kind_valgrind() {
	tools/valgrind_errors.pl --result "$scratch/valgrind.result" \
		"$BS_VALGRIND_LOGS" || true
	failed=1
	[ ! -s "$scratch/valgrind.result" ] || read -r passed failed skipped <"$scratch/valgrind.result"
}

# ---- all that was asked for -----------------------------------------------

for word in "$@"; do
	case $word in
	*/*) files+=("$word") ;;
	*) kinds+=("$word") ;;
	esac
done
sweep                           # after a run that was killed
chmod -R u+w "$scratch" 2>/dev/null || true
rm -rf "${scratch:?}"/*
for kind in "${kinds[@]}"; do
	[[ $kind != tap && $kind != valgrind ]] || stop_server
	echo "== $kind"
	passed=0 failed=0 skipped=0 start=$SECONDS
	"kind_$kind"
	[ "$server_state" = up ] || sweep
	report "$kind" "$passed" "$failed" "$skipped" $((SECONDS - start))
done
