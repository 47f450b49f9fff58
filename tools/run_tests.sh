#!/usr/bin/env bash
# run_tests.sh: every kind of test, counted; what "make test" calls.
#
#   tools/run_tests.sh [KIND | FILE]...
#
#   lint       tools/check_*.sh, each one test
#   unit       test/unit/test_*.c, plain C under ASan and UBSan, and
#              test/unit/*.py
#   fuzz       test/fuzz/fuzz_*.c, FUZZ_SECONDS (10) each, from a copy of
#              test/fuzz/corpus/NAME
#   regress    test/sql/*.sql, answers in expected/
#   isolation  test/specs/*.spec, answers in expected/
#   pgtap      test/pgtap/*.sql, with pgTAP in the schema "tap"
#   tap        test/t/*.pl, TAP_JOBS (2) at a time
#   chaos      test/chaos: faults at random from CHAOS_SEED, and every failpoint
#              with a kill -9, for both kinds of queue; "make chaos" does more
#
#   valgrind   the server of the other kinds runs under valgrind, slowly; by itself
#              regress, pgtap and the tests of test/t that send mail, one of them
#              with bs_sender under valgrind as well.  Counts processes, failed is
#              one with an error in our code or in libcurl
#
# Without arguments all but valgrind; a file runs without the others of its kind:
# tools/run_tests.sh test/t/x.pl
#
# Everything that may need a compiler is made here, by the caller.  What needs a
# server, or runs code of ours, runs in tools/test_kinds.sh, as a user that is
# not root.  The extension is loaded from build/pg, nothing is installed.  Logs
# stay in build/logs.  The last line is "N passed, N failed"; the exit code is 0
# only if nothing failed and something passed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
unset MAKEFLAGS MAKELEVEL MFLAGS
logs=build/logs
results=$logs/results.tsv
all_kinds=(lint unit fuzz regress isolation pgtap tap chaos)
kinds=()
files=()
child=
stopped=
tree_option=

die() {
	echo "run_tests.sh: $*" >&2
	exit 1
}

kind_of_file() {
	case $1 in
	tools/check_*.sh) echo lint ;;
	test/unit/test_*.c | test/unit/*.py) echo unit ;;
	test/fuzz/fuzz_*.c) echo fuzz ;;
	test/sql/*.sql) echo regress ;;
	test/specs/*.spec) echo isolation ;;
	test/pgtap/*.sql) echo pgtap ;;
	test/t/*.pl) echo tap ;;
	test/chaos/chaos.py) echo chaos ;;
	*) die "no kind of test: $1" ;;
	esac
}

has() {
	[[ " ${kinds[*]} " == *" $1 "* ]]
}

# report KIND PASSED FAILED SKIPPED SECONDS
report() {
	printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$results"
}

# The files of a kind: those that were asked for, or all.
files_of() {
	local kind=$1 pattern=$2 file all=yes
	for file in "${files[@]}"; do
		[ "$(kind_of_file "$file")" = "$kind" ] || continue
		all=
		echo "$file"
	done
	[ -z "$all" ] || compgen -G "$pattern" || true
}

# Runs a command so that a signal, which is handed on as TERM, is not kept
# waiting for its end.
attend() {
	local code=0
	"$@" </dev/null 9>&- &
	child=$!
	while kill -0 "$child" 2>/dev/null; do
		code=0
		wait "$child" || code=$?
	done
	child=
	[ -z "$stopped" ] || exit 143
	return "$code"
}
trap 'stopped=yes; [ -z "$child" ] || kill "$child" 2>/dev/null || true' \
	INT TERM HUP

# prepare KINDS NAME COMMAND...: if the command fails, the kinds that need it have failed.
prepare() {
	local needed_by=$1 log=$logs/$2.log kind
	shift 2
	for kind in $needed_by ''; do
		! has "$kind" || break
	done
	[ -n "$kind" ] || return 0
	attend "$@" >"$log" 2>&1 && return
	echo "== failed: $*"
	tail -n 60 "$log"
	for kind in $needed_by; do
		! has "$kind" || report "$kind" 0 1 0 0
		drop "$kind"
	done
}

drop() {
	local kind left=()
	for kind in "${kinds[@]}"; do
		[ "$kind" = "$1" ] || left+=("$kind")
	done
	kinds=("${left[@]}")
}

run_lints() {
	local start=$SECONDS passed=0 failed=0 script log
	while read -r script <&3; do
		log=$logs/lint-$(basename "$script" .sh).log
		if attend timeout -k 10 300 "$script" >"$log" 2>&1; then
			passed=$((passed + 1))
			echo "ok - $script"
		else
			failed=$((failed + 1))
			echo "not ok - $script" | tee -a "$logs/failures"
			tail -n 60 "$log"
		fi
	done 3< <(files_of lint 'tools/check_*.sh')
	report lint "$passed" "$failed" 0 $((SECONDS - start))
}

summary() {
	local kind bad skips
	# A kind that did not come to its end has failed.
	for kind in "${asked[@]}"; do
		grep -q "^$kind	" "$results" || report "$kind" 0 1 0 0
	done
	# Once more at the end, which may be all that is kept of what was printed.
	bad=$(grep -rhE '^(not ok |test .* FAILED)' "$logs" | cut -c 1-200 || true)
	[ -z "$bad" ] || printf '\n%s\n' "$bad" | tail -n 40
	skips=$(grep -h '^skipped: ' "$logs"/*.log || true)
	[ -z "$skips" ] || printf '\n%s\n' "$skips"
	awk -F '\t' '
		BEGIN { printf "\n%-10s %8s %8s %8s %8s\n", "kind", "passed", "failed",
			"skipped", "seconds" }
		{ printf "%-10s %8d %8d %8d %8d\n", $1, $2, $3, $4, $5
		  passed += $2; failed += $3 }
		END { printf "%d passed, %d failed\n", passed, failed
		  exit failed > 0 || passed == 0 }' "$results"
}

for word in "$@"; do
	if [[ " ${all_kinds[*]} valgrind " == *" $word "* ]]; then
		has "$word" || kinds+=("$word")
	else
		kind=$(kind_of_file "$word")
		[ -f "$word" ] || die "no such file: $word"
		files+=("$word")
		has "$kind" || kinds+=("$kind")
	fi
done
[ ${#kinds[@]} -gt 0 ] || kinds=("${all_kinds[@]}")
if has valgrind; then
	drop valgrind
	if [ ${#kinds[@]} -eq 0 ]; then
		kinds=(regress pgtap tap)
		files=(test/sql/*.sql test/pgtap/*.sql test/t/delivery_*.pl
			test/t/workers_*.pl test/t/sender_memory.pl)
	fi
	kinds+=(valgrind)
	tree_option=--valgrind
	export BS_PG_TREE=pg-valgrind BS_TEST_SLOWNESS=${BS_TEST_SLOWNESS:-15}
fi
asked=("${kinds[@]}")

mkdir -p build
[ -w build ] || die "cannot write to build/; was it made by another user?"
exec 9>build/lock
flock -n 9 || die "another run is going on in this tree"
rm -rf "$logs"
mkdir "$logs"
: >"$results"

if has lint; then
	echo "== lint"
	run_lints
	drop lint
fi
compile=(timeout -k 10 "${MAKE_LIMIT:-900}" make -j"$(nproc)")
prepare unit make-unit "${compile[@]}" unit-tests
prepare fuzz make-fuzz "${compile[@]}" fuzzers
prepare tap make-tap "${compile[@]}" bench-programs
prepare 'regress isolation pgtap tap chaos valgrind' private_pg tools/private_pg.sh ${tree_option:+"$tree_option"}
prepare chaos failpoints env FAILPOINTS=1 tools/build_copy.sh build/failpoints
# What test/t/pg_upgrade.pl upgrades from.
if files_of tap 'test/t/*.pl' | grep -qx 'test/t/pg_upgrade.pl'; then
	prepare tap older_servers tools/older_servers.sh
fi
if [ ${#kinds[@]} -gt 0 ]; then
	# Root's log of the compilation goes into the hands of the same user.
	attend tools/run_as.sh --own build/scratch --own "$logs" \
		tools/test_kinds.sh "${kinds[@]}" "${files[@]}" || true
fi
summary
