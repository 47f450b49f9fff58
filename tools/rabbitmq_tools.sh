#!/usr/bin/env bash
# rabbitmq_tools.sh: RabbitMQ and the Erlang it runs on, without a broker.
#
# Debian's package "rabbitmq-server" starts a broker, and enables it and epmd for
# every boot to come; tests and the demo want one of their own that nobody else
# ever sees.  So the packages are only unpacked, into build/rabbitmq, and nothing
# is installed, started or enabled: an admin's own broker is not touched.
#
#   tools/rabbitmq_tools.sh     prints the folder: erlang/ and server/ in it
#
# tools/private_rabbitmq.sh starts brokers from there.  Safe to repeat; does
# nothing when all is there and runs.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
dest=$PWD/build/rabbitmq
die() {
	echo "rabbitmq_tools.sh: $*" >&2
	exit 1
}

# Changes with what this script does.
stamp() {
	cksum <tools/rabbitmq_tools.sh
}

usable() {
	[ -f "$dest/complete" ] && [ "$(cat "$dest/complete")" = "$(stamp)" ] &&
		"$dest/erlang/bin/erl" -noinput -boot start_clean \
			-eval 'crypto:start(), halt(0).' >/dev/null 2>&1
}

# RabbitMQ, and what it depends on of Erlang.
packages() {
	apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts \
		--no-breaks --no-replaces --no-enhances rabbitmq-server |
		grep -E '^(rabbitmq-server|erlang-[a-z0-9-]+)$'
}

download() {
	local names
	mapfile -t names < <(packages 2>log)
	[ ${#names[@]} -gt 1 ] &&
		apt-get download -o APT::Sandbox::User=root "${names[@]}" >log 2>&1
}

# unpack DIR: all packages into DIR/root
unpack() {
	local deb
	cd "$1"
	if ! download; then
		"$OLDPWD/tools/setup.sh" update
		download || die "apt-get cannot download them: $(tail -n 1 log)"
	fi
	for deb in *.deb; do
		dpkg-deb -x "$deb" root
	done
	cd "$OLDPWD"
}

# Debian's script says where Erlang is; this one looks where it is itself.  RabbitMQ
# calls it to have an epmd, and one that nobody knows of would stay for ever.
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

# keep_parts DIR: the plugins folder holds RabbitMQ itself, and plugins that nobody
# switches on; without them a broker is up in two thirds of the time.  Removes what
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

if usable; then
	echo "$dest"
	exit 0
fi
command -v apt-get >/dev/null || die "apt-get is needed to fetch RabbitMQ"
command -v dpkg-deb >/dev/null || die "dpkg-deb is needed to unpack RabbitMQ"

mkdir -p build
work=$(mktemp -d build/rabbitmq.XXXXXX)
trap 'rm -rf "$work"' EXIT
# apt gives up its rights to a user that must be able to write here.
chmod 755 "$work"
unpack "$PWD/$work"
rm -rf "$dest"
mkdir -p "$dest"
mv "$work/root/usr/lib/erlang" "$dest/erlang"
mv "$work"/root/usr/lib/rabbitmq/lib/rabbitmq_server-* "$dest/server"
for place in "$dest"/erlang/bin "$dest"/erlang/erts-*/bin; do
	write_erl "$place/erl"
done
keep_parts "$dest/server/plugins"
stamp >"$dest/complete"
usable || die "Erlang was unpacked into $dest but does not run"
echo "$dest"
