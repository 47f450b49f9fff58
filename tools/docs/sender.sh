#!/usr/bin/env bash
# sender.sh table|man: the settings of bs_sender, as bs_sender --help lists them, for
# docs/settings.md and for its manual page.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
"$top/bs_sender" --help | awk -v form="${1?table or man?}" '
	/^  [a-z_]+  / {
		name = $1
		sub(/^ +[a-z_]+ +/, "")
		usual = match($0, / \[[^]]*\]$/) ? substr($0, RSTART + 2, RLENGTH - 3) : ""
		if (usual != "")
			$0 = substr($0, 1, RSTART - 1)
		if (form == "table")
			printf "| %s | %s | %s |\n", name, usual == "" ? "empty" : \
				usual ~ /server/ ? usual : "`" usual "`", $0
		else
			printf ".TP\n.B %s\n%s%s\n", name, $0, usual == "" ? "" : " [" usual "]"
	}'
