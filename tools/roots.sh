#!/usr/bin/env bash
# roots.sh: folders with other Debians in them, and work inside.
#
#   . tools/roots.sh           for other scripts, which run as root at the top of
#                              the tree; does nothing but define
#
# BS_MIRROR is where the packages come from; if it is not set, where this machine's own
# come from.
# shellcheck disable=SC2016  # apt's own words
mirror=${BS_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
	'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n 1)}

# make_debian SUITE TARGET PACKAGE,... [OPTION...]: a minimal Debian with these
# packages and no cluster; OPTIONs are mmdebstrap's.
make_debian() {
	local suite=$1 target=$2 packages=$3
	shift 3
	# The lists of a mirror that is seldom brought up to date are too old for apt.  The
	# folder need not survive a power cut, so dpkg does not wait for the disk.
	mmdebstrap --quiet --variant=minbase --include="$packages" \
		--aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Dpkg::Use-Pty "0"' \
		--dpkgopt=force-unsafe-io \
		"$@" "$suite" "$target" "deb $mirror $suite main"
}

# in_root ROOT COMMAND...: with processes of its own, which end with it, and the
# network of this machine; lonely_in_root with its own.  In a chroot nobody may make
# a user namespace, as the tests of the network do; so it is pivot_root.
in_root() {
	local root=$1 net=()
	shift
	[ "${lonely-}" = '' ] || net=(--net)
	# shellcheck disable=SC2016  # the inner shell's own words
	unshare --mount --pid "${net[@]}" --fork --kill-child sh -c '
		ip link set lo up 2>/dev/null
		mount --bind "$0" "$0"
		cd "$0"
		mount -t proc proc proc
		mount -t sysfs sys sys
		mount --rbind /dev dev
		mount -t tmpfs shm dev/shm
		mount -t tmpfs tmp tmp
		chmod 1777 tmp
		pivot_root . .
		umount -l .
		exec env -i HOME=/root LC_ALL=C.UTF-8 TERM=dumb \
			PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"' "$root" "$@" </dev/null
}

lonely_in_root() {
	lonely=yes in_root "$@"
}

# copy_tree ROOT: the tree as it is, whatever is committed, to /birthday_scheduler, and
# the history, which some tests read.
copy_tree() {
	local top=$1/birthday_scheduler
	mkdir -p "$top"
	find "$top" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
	rm -rf "$top.git"
	git clone -q --bare . "$top.git"
	mv "$top.git" "$top/.git"
	git -C "$top" config core.bare false
	git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
		[ ! -e "$file" ] || printf '%s\0' "$file"
	done | tar -c --null -T - | tar -x -C "$top" --no-same-owner
	chown -R root:root "$top/.git"
	git -C "$top" reset -q
}
