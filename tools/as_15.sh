#!/usr/bin/env bash
# as_15.sh: the launcher of psql and isolationtester in the tests: the answers in
# expected/ are those of server 15, and where a later one only words them differently,
# test/as_15.sed says it in the words of 15.
set -o pipefail
"$@" 2>&1 | sed -E -f "$(dirname "${BASH_SOURCE[0]}")/../test/as_15.sed"
