#!/usr/bin/env bash
# screenshots.sh: make the pictures in docs/images again, with Debian's chromium.
#
#   make demo && tools/screenshots.sh
#
# Reads the pages of the demo that runs; look at the pictures before you commit
# them.  Needs the packages chromium, fonts-dejavu-core and fonts-droid-fallback.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
demo=build/demo
[ ! -f build/demo.place ] || demo=$(cat build/demo.place)/build/demo
work=$(mktemp -d /tmp/bs_screenshots.XXXXXX)
trap 'rm -rf "$work"' EXIT

die() {
	echo "screenshots.sh: $*" >&2
	exit 1
}

# shoot NAME WIDTH,HEIGHT URL
shoot() {
	timeout 60 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars \
		--user-data-dir="$work/profile" --force-color-profile=srgb \
		--window-size="$2" --screenshot="$work/$1.png" "$3" \
		>"$work/log" 2>&1 || die "chromium failed: $(tail -n 3 "$work/log")"
	[ "$(stat -c %s "$work/$1.png")" -lt 150000 ] || die "$1.png is larger than 150 kB"
	cp "$work/$1.png" "docs/images/$1.png"
	echo "docs/images/$1.png"
}

command -v chromium >/dev/null || die "chromium is missing: apt-get install chromium fonts-dejavu-core fonts-droid-fallback"
[ -r "$demo/ports" ] || die "there is no demo; make demo starts one"
# shellcheck source=/dev/null
. "$demo/ports"
mkdir -p docs/images
# shellcheck disable=SC2154  # it is in that file
page=http://127.0.0.1:$page_port
shoot mails 1000,599 "$page/"
# the twelfth that comes is Hanako's anniversary
shoot mail 1000,480 "$page/mail/12"
