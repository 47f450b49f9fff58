#!/usr/bin/env bash
# coverage.sh: how much of src/core the unit tests reach, by file.
#
# Builds the unit tests once more, in build/coverage, for gcov, and without the
# sanitizers, whose branches would count.  The lines that no test reached are
# marked ##### in build/coverage/*.gcov.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$PWD/build/coverage
rm -rf "$work"
mkdir -p "$work"

make -s UNIT_DIR=build/coverage UNIT_CC="gcc --coverage" \
	UNIT_FLAGS="-std=gnu11 -g -O0 -Isrc -Itest/unit" unit-tests
for program in "$work"/test_* test/unit/*.py; do
	case $program in
	*.gcno | *.gcda) continue ;;
	*.py) command=("$program" "$work/mime_driver") ;;
	*) command=("$program") ;;
	esac
	"${command[@]}" >"$work/$(basename "$program").log" ||
		{ echo "$program failed" >&2 && exit 1; }
done

# The sources are named from the top.
ln -s "$PWD/src" "$work/src"
cd "$work"
gcov -b -r core/*/*.gcda | awk -F "[:%' ]+" '
	BEGIN { form = "%-28s %8s %8s %8s\n"
		printf form, "file", "lines", "reached", "branches" }
	/^File/ { file = $2 }
	/^Lines executed/ && file { reached = $3; lines = $5 }
	/^Taken at least once/ && file { taken = $5 }
	/^Creating/ && file ~ /^src\/core\/.*\.c$/ {
		printf form, file, lines, reached " %", taken " %"
		hit += reached * lines / 100
		sum += lines
		file = ""
	}
	END { printf form, "all", sum, sprintf("%.1f %%", 100 * hit / sum), "" }'
