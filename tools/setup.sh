#!/usr/bin/env bash
# setup.sh: install what is missing on a Debian machine.
#
#   tools/setup.sh [SET...]
#
#   build      compiler, server and headers         (default: build and test)
#   test       what "make test" needs
#   demo       what "make demo" needs beside build
#   broker     RabbitMQ for tests and the demo; no broker is installed (with test
#              and bench, too)
#   lint       what "make lint" needs beside build and test
#   bench      smtp-source, smtp-sink and nginx; no mail or web server is installed
#   valgrind   for the runs under valgrind
#   deb        what "make deb" and "make deb-test" need
#   image      what "make docker-test" needs to build the image without Docker
#   update     refresh apt's package lists, nothing else
#
# Says nothing and asks for no rights when everything is there.  Otherwise it
# needs root or sudo, and refreshes apt's lists once, because on a fresh machine
# they are old or empty.  When the server comes with it, Debian would make and
# start a cluster "main" on port 5432: for the time of this installation a
# drop-in tells it not to, and an admin's own settings stay as they are.
set -euo pipefail

dropin_dir=/etc/postgresql-common/createcluster.d
dropin=$dropin_dir/zz-birthday_scheduler-setup.conf
log=
made_dropin=
made_dropin_dir=

die() {
	echo "setup.sh: $*" >&2
	exit 1
}

# ---- which server, and what its release calls the packages ------------------

# A derivative goes by the Debian that it stands on.
release=$(. /etc/os-release 2>/dev/null && echo "${DEBIAN_CODENAME:-${VERSION_CODENAME-}}") || true

# By release: what its libraries' names end with since time_t has 64 bits; ICU; the
# library that its Erlang wants besides; and what stands apart in it, the formatter or
# programs.
case $release in
bookworm) t64='' icu=72 sctp='' apart=pg-bsd-indent ;;
trixie) t64=t64 icu=76 sctp='' apart=tzdata-legacy ;;
forky | sid) t64=t64 icu=78 sctp=libsctp1 apart=tzdata-legacy ;;
*) t64='' icu='' sctp='' apart='' ;;
esac

# A server that is not Debian's is installed by the admin who built it.
# shellcheck source=tools/supported.sh
. "$(dirname "${BASH_SOURCE[0]}")/supported.sh"
ships=$(server_of_release "$release")
choose_server "$ships"
# The names with the server's number for NN; none where Debian did not make it.
server_packages() {
	local name
	for name in "$@"; do
		[ -z "$debian_server" ] || echo "${name/NN/${server:-NN}}"
	done
}

# shellcheck disable=SC2046  # each name is a word
packages_of() {
	case $1 in
	build) echo gcc make libc6-dev pkg-config libcurl4-openssl-dev \
		librabbitmq-dev libcjson-dev libmicrohttpd-dev libpq-dev \
		$(server_packages postgresql-NN postgresql-server-dev-NN) ;;
	test) echo $(server_packages postgresql-NN-pgtap postgresql-NN-cron) \
		libtap-parser-sourcehandler-pgtap-perl \
		libipc-run-perl perl python3-aiosmtpd openssl tzdata $apart \
		clang libclang-rt-dev curl amqp-tools \
		docker-compose python3-yaml python3-icalendar ;;
	lint) echo clang-tidy cppcheck python3-pyflakes shellcheck ;;
	demo) echo python3-aiosmtpd openssl tzdata ;;
	# the libraries that the unpacked programs want
	broker) echo "libssl3$t64" $sctp libstdc++6 libsystemd0 libtinfo6 zlib1g ;;
	bench) echo libcrypt1 "libdb5.3$t64" libgssapi-krb5-2 "libicu$icu" libnsl2 libpcre2-8-0 ;;
	valgrind) echo valgrind ;;
	deb) echo build-essential debhelper fakeroot git lintian postgresql-server-dev-all \
		$(server_packages postgresql-NN-cron) ;;
	image) echo buildah mmdebstrap ;;
	update) ;;
	*) die "unknown set \"$1\": build, test, demo, broker, lint, bench, valgrind, deb, image or update" ;;
	esac
}

installed() {
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif [ -t 0 ]; then
		sudo -- "$@"
	else
		sudo -n -- "$@"
	fi
}

need_rights() {
	command -v apt-get >/dev/null ||
		die "apt-get is needed to install: $*"
	[ "$(id -u)" != 0 ] || return 0
	command -v sudo >/dev/null ||
		die "root or sudo is needed to install: $*"
	as_root true 2>/dev/null ||
		die "sudo refused; as root install: $*"
}

apt() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
		-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" \
		</dev/null >>"$log" 2>&1
}

cleanup() {
	if [ -n "$made_dropin" ]; then
		as_root rm -f "$dropin" || true
	fi
	if [ -n "$made_dropin_dir" ]; then
		as_root rmdir "$dropin_dir" 2>/dev/null || true
	fi
	rm -f "$log"
}

no_main_cluster() {
	if [ ! -d "$dropin_dir" ]; then
		as_root mkdir -p "$dropin_dir"
		made_dropin_dir=yes
	fi
	made_dropin=yes
	echo "create_main_cluster = false" | as_root tee "$dropin" >/dev/null
}

update_lists() {
	# Not fatal: the lists that are there may do.
	apt update || echo "setup.sh: apt-get update failed, going on" >&2
}

[ $# -gt 0 ] || set -- build test
[[ " $* " != *" test "* && " $* " != *" bench "* ]] || set -- "$@" broker
wanted=()
refresh=
for set_name in "$@"; do
	names=$(packages_of "$set_name")
	read -r -a names <<<"$names"
	wanted+=("${names[@]}")
	[ "$set_name" != update ] || refresh=yes
done

# Elsewhere the caller installs; what is lacking after all, the build will say.
if [ -z "$ships" ] || ! command -v dpkg-query >/dev/null; then
	echo "setup.sh: this is neither Debian 12 nor 13, so nothing is installed; wanted, by the names there: ${wanted[*]}" >&2
	for program in gcc make "${PG_CONFIG:-pg_config}"; do
		command -v "$program" >/dev/null || die "there is no $program"
	done
	exit 0
fi
# There is no pgTAP or pg_cron yet for a server that is not released.
is_to_come() {
	[[ $1 == postgresql-*-pgtap || $1 == postgresql-*-cron ]] &&
		[ -n "$(apt-cache show "postgresql-$server" 2>/dev/null)" ] &&
		[ -z "$(apt-cache show "$1" 2>/dev/null)" ]
}

missing=()
for package in "${wanted[@]}"; do
	installed "$package" || is_to_come "$package" || missing+=("$package")
done

if [ ${#missing[@]} -gt 0 ] || [ -n "$refresh" ]; then
	need_rights "${missing[@]:-package lists}"
	log=$(mktemp)
	trap cleanup EXIT
	trap 'exit 130' INT TERM
	update_lists
fi
if [ ${#missing[@]} -gt 0 ]; then
	echo "setup.sh: installing ${missing[*]}"
	installed "postgresql-$server" || no_main_cluster
	if ! apt install --no-install-recommends "${missing[@]}"; then
		tail -n 20 "$log" >&2
		die "apt-get could not install: ${missing[*]}"
	fi
fi

# What is unpacked below build/ only.
for set_name in "$@"; do
	case $set_name in
	bench) unpacked='postfix nginx' ;;
	broker) unpacked=rabbitmq ;;
	test) unpacked=prometheus ;;
	*) unpacked= ;;
	esac
	for name in $unpacked; do
		"$(dirname "${BASH_SOURCE[0]}")/unpack.sh" "$name" >/dev/null
	done
done
