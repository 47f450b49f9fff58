#!/usr/bin/env bash
# unpack.sh: programs of Debian packages that would start a service at every boot.
#
#   tools/unpack.sh nginx         build/nginx with nginx, the benchmark's mail API, which
#                                 answers 202 to everything
#   tools/unpack.sh postfix       build/postfix with smtp-source and smtp-sink, which measure
#                                 what a relay and a sender can do
#   tools/unpack.sh prometheus    build/prometheus with prometheus, promtool and
#                                 prometheus-postgres-exporter; in root/ the packages' files
#                                 below /etc and their units
#   tools/unpack.sh rabbitmq      build/rabbitmq with erlang/ and server/, from which
#                                 tools/private_rabbitmq.sh starts brokers
#
# The packages are only unpacked: nothing is installed, started or enabled.  Prints the
# folder.  Safe to repeat; does nothing when everything is there and runs.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
name=${1-}
dest=$PWD/build/$name
# Changes with what this script does.
stamp=$(cksum <tools/unpack.sh)

die() {
	echo "unpack.sh: $*" >&2
	exit 1
}

# For each NAME: packages_NAME prints the packages, place_NAME takes what is needed from
# the folder $root, into which they were unpacked, and runs_NAME tries it.

packages_nginx() {
	echo nginx
}

place_nginx() {
	mv "$root/usr/sbin/nginx" "$dest/"
}

runs_nginx() {
	"$dest/nginx" -v
}

packages_postfix() {
	echo postfix
}

# The wrappers find the package's own libraries.
place_postfix() {
	local program
	mv "$root/usr/lib/postfix" "$dest/lib"
	for program in smtp-source smtp-sink; do
		mv "$root/usr/sbin/$program" "$dest/lib/"
		cat >"$dest/$program" <<'WRAPPER'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec "$here/lib/$(basename "$0")" "$@"
WRAPPER
		chmod 755 "$dest/$program"
	done
}

# Without arguments they print their usage and fail.
runs_postfix() {
	local program said
	for program in smtp-source smtp-sink; do
		said=$("$dest/$program" 2>&1) || true
		echo "$said"
		[[ $said == *usage* ]] || return 1
	done
}

# Since Debian 13 promtool is a package of its own.
packages_prometheus() {
	echo prometheus prometheus-postgres-exporter
	[ -z "$(apt-cache show promtool 2>/dev/null)" ] || echo promtool
}

place_prometheus() {
	mv "$root"/usr/bin/{prometheus,promtool,prometheus-postgres-exporter} "$dest/"
	mkdir -p "$dest/root/lib/systemd"
	mv "$root/etc" "$dest/root/"
	mv "$root"/{,usr/}lib/systemd/system "$dest/root/lib/systemd/" 2>/dev/null || true
}

runs_prometheus() {
	[ -d "$dest/root/lib/systemd/system" ] &&
		[ -f "$dest/root/etc/default/prometheus" ] &&
		[ -f "$dest/root/etc/default/prometheus-postgres-exporter" ] &&
		"$dest/prometheus" --version && "$dest/promtool" --version &&
		"$dest/prometheus-postgres-exporter" --version
}

# RabbitMQ, and what it depends on of Erlang.
packages_rabbitmq() {
	apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts \
		--no-breaks --no-replaces --no-enhances rabbitmq-server |
		grep -E '^(rabbitmq-server|erlang-[a-z0-9-]+)$'
}

place_rabbitmq() {
	local place
	mv "$root/usr/lib/erlang" "$dest/erlang"
	mv "$root"/usr/lib/rabbitmq/lib/rabbitmq_server-* "$dest/server"
	for place in "$dest"/erlang/bin "$dest"/erlang/erts-*/bin; do
		write_erl "$place/erl"
	done
	keep_parts "$dest/server/plugins"
}

runs_rabbitmq() {
	"$dest/erlang/bin/erl" -noinput -boot start_clean -eval 'crypto:start(), halt(0).'
}

# Debian's script has the path of Erlang in it; this one looks where it is itself.
# RabbitMQ calls it to have an epmd, which would go on after the broker has stopped.
write_erl() {
	cat >"$1" <<'WRAPPER'
#!/bin/sh
here=$(readlink -f "$0")
ROOTDIR=${here%/*/*}
case $ROOTDIR in */erts-*) ROOTDIR=${ROOTDIR%/*} ;; esac
for BINDIR in "$ROOTDIR"/erts-*/bin; do :; done
EMU=beam
PROGNAME=erl
export ROOTDIR BINDIR EMU PROGNAME
exec "$BINDIR/erlexec" -start_epmd false "$@"
WRAPPER
	chmod 755 "$1"
}

# keep_parts DIR: the plugins folder holds RabbitMQ itself, and plugins that are not
# enabled; without them a broker is up in two thirds of the time.  Removes what
# "rabbit" does not need, by the .app files.
keep_parts() {
	local entry needed
	# shellcheck disable=SC2016  # Erlang's own words
	needed=$(cd "$1" && "$dest/erlang/bin/erl" -noinput -boot start_clean -eval '
		Add = fun Add(App, Known) ->
			Name = atom_to_list(App),
			File = filelib:wildcard(Name ++ "-*/ebin/" ++ Name ++ ".app"),
			case lists:member(App, Known) orelse File of
				[Path] ->
					{ok, [{application, App, About}]} = file:consult(Path),
					lists:foldl(Add, [App | Known],
						proplists:get_value(applications, About, []));
				_ -> Known
			end
		end,
		[io:format("~s~n", [App]) || App <- Add(rabbit, [])],
		halt(0).') || die "cannot tell what RabbitMQ needs: $needed"
	for entry in "$1"/*; do
		entry=${entry##*/}
		grep -qxF "${entry%%-*}" <<<"$needed" || rm -rf "${1:?}/$entry"
	done
}

usable() {
	[ "$(cat "$dest/complete" 2>/dev/null)" = "$stamp" ] && "runs_$name" >/dev/null 2>&1
}

# The lists of a fresh machine are old or empty: packages_NAME is asked again after an update.
download() {
	local packages
	read -r -d '' -a packages < <("packages_$name" 2>"$work/log") || true
	[ ${#packages[@]} -gt 0 ] &&
		(cd "$work" && apt-get download -o APT::Sandbox::User=root "${packages[@]}" >log 2>&1)
}

case $name in
nginx | postfix | prometheus | rabbitmq) ;;
*) die "what? nginx, postfix, prometheus or rabbitmq" ;;
esac
if ! usable; then
	command -v apt-get >/dev/null || die "apt-get is needed to fetch $name"
	command -v dpkg-deb >/dev/null || die "dpkg-deb is needed to unpack $name"
	mkdir -p build
	work=$(mktemp -d "$PWD/build/$name.XXXXXX")
	root=$work/root
	trap 'rm -rf "$work"' EXIT
	# apt gives up its rights to a user that must be able to write here.
	chmod 755 "$work"
	download || { tools/setup.sh update && download; } ||
		die "apt-get cannot download $name: $(tail -n 1 "$work/log")"
	for deb in "$work"/*.deb; do
		dpkg-deb -x "$deb" "$root"
	done
	rm -rf "$dest"
	mkdir "$dest"
	"place_$name"
	echo "$stamp" >"$dest/complete"
	usable || die "$name was unpacked into $dest but does not run: $("runs_$name" 2>&1 | tail -n 1)"
fi
echo "$dest"
