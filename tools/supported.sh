#!/usr/bin/env bash
# supported.sh: the servers that are supported, and which of them is chosen.
#
#   . tools/supported.sh       for other scripts; does nothing but define
#
# This is the only list.  tools/check_package.sh compares with it what else names a
# server: debian/pgversions, META.json, docs/packaging.md and the image.

# shellcheck disable=SC2034  # for those who read this file
supported_servers=(15 17 18)
# Not released yet: it builds and passes a part of the tests.
# shellcheck disable=SC2034
coming_servers=(19)

# suite_of SERVER: the Debian that ships it.
suite_of() {
	case $1 in
	15) echo bookworm ;;
	17) echo trixie ;;
	18) echo sid ;;
	19) echo experimental ;;
	*) return 1 ;;
	esac
}

# server_of_release CODENAME: the server that this release of Debian ships, if any.
server_of_release() {
	case $1 in
	bookworm) echo 15 ;;
	trixie) echo 17 ;;
	forky | sid) echo 18 ;;
	esac
}

# choose_server FALLBACK: sets "server" to the server of PG_CONFIG, else the newest
# whose headers are here (what Debian's own pg_config chooses), else FALLBACK;
# and "debian_server" to "yes" if Debian has packages for it, which is not so if its
# admin built it.
choose_server() {
	local newest
	server=$1
	# shellcheck disable=SC2034
	debian_server=yes
	if [ -n "${PG_CONFIG-}" ] && command -v "$PG_CONFIG" >/dev/null; then
		server=$("$PG_CONFIG" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
		[[ $("$PG_CONFIG" --bindir) == /usr/lib/postgresql/* ]] || debian_server=
	elif [[ ${PG_CONFIG-} =~ ^/usr/lib/postgresql/([0-9]+)/ ]]; then
		server=${BASH_REMATCH[1]}
	elif [ -z "${PG_CONFIG-}" ]; then
		newest=$(printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -V | tail -n 1)
		[ ! -x "$newest" ] ||
			server=$("$newest" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
	fi
}
