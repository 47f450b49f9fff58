#!/usr/bin/env bash
# lint.sh: cppcheck, clang-tidy, shellcheck and pyflakes over the whole tree.
#
#   tools/lint.sh [c|shell|python|perl]...
#
# Slower than tools/check_*.sh, which every test run does; "make lint" is both.
# Says on stderr what it does, a line a step, and what is wrong; then it fails.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
pg_config=${PG_CONFIG:-pg_config}
failed=0

[ $# -gt 0 ] || set -- c shell python perl

step() {
	echo "lint.sh: $*" >&2
}

lint_c() {
	local sources work=build/lint
	mapfile -t sources < <(git ls-files 'src/*.c')
	step "cppcheck over src, test/unit and test/fuzz"
	cppcheck -q --std=c11 --enable=warning,performance,portability \
		--inline-suppr --error-exitcode=1 -Isrc src test/unit test/fuzz ||
		failed=1
	# The server's headers are not ours to mend; warnings in them are counted.
	mkdir -p "$work"
	printf '%s\n' -std=gnu11 -D_GNU_SOURCE '-DBS_VERSION=""' \
		'-DBS_SYSTEM_TZDIR=""' "-I$PWD/src" -isystem \
		"$("$pg_config" --includedir-server)" -isystem \
		"$("$pg_config" --includedir)" >"$work/compile_flags.txt"
	step "clang-tidy over ${#sources[@]} files, which takes a minute or two"
	printf '%s\0' "${sources[@]}" |
		xargs -0 -n 6 -P "$(nproc)" clang-tidy --quiet -p "$work" \
			2>"$work/errors" || failed=1
	grep -vE '^[0-9]+ warnings?|^Suppressed|^$' "$work/errors" >&2 || true
}

lint_shell() {
	local scripts
	mapfile -t scripts < <(git grep -lE '^#!.*[/ ](ba)?sh( |$)' -- .)
	step "shellcheck over ${#scripts[@]} scripts"
	shellcheck -x "${scripts[@]}" || failed=1
}

lint_python() {
	local scripts
	mapfile -t scripts < <(git ls-files '*.py')
	step "pyflakes over ${#scripts[@]} scripts"
	/usr/bin/python3 -m pyflakes "${scripts[@]}" || failed=1
}

# Warnings are mistakes; the modules of others stand elsewhere.
lint_perl() {
	local script said lib
	lib=$(dirname "$("$pg_config" --pgxs)")/../test/perl
	step "perl -c over all scripts and modules"
	while read -r script; do
		said=$(PG_REGRESS=none TESTDIR=$PWD/build perl -cw -Itest/lib \
			-I"$lib" "$script" 2>&1) || true
		[ "$said" = "$script syntax OK" ] || { echo "$said" && failed=1; }
	done < <(git ls-files '*.pl' '*.pm')
}

for word in "$@"; do
	case $word in
	c) lint_c ;;
	shell) lint_shell ;;
	python) lint_python ;;
	perl) lint_perl ;;
	*) echo "lint.sh: unknown argument: $word" >&2 && exit 2 ;;
	esac
done
exit "$failed"
