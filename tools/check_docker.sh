#!/usr/bin/env bash
#
# check_docker.sh
#     docker/ and monitoring/: the compose file fits its schema, everything that
#     it mounts is there and accepted by its program, no secret is written down,
#     and the image has the libraries that the extension was linked with.
#
# No Docker engine is needed.  The server's and the broker's part is
# test/t/docker.pl, because they run; tools/try_image.sh builds the image.
#
set -euo pipefail
cd "$(dirname "$0")/.."

for program in docker-compose dpkg-query readelf; do
    command -v "$program" >/dev/null || {
        echo "no $program; run tools/setup.sh test" >&2
        exit 1
    }
done
prometheus=$(tools/unpack.sh prometheus)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

complain() {
    echo "$*" >&2
    failed=1
}

# Debian's docker-compose asks no engine for "config"; it is older than "name:".
if ! sed '/^name:/d' docker/compose.yaml |
    docker-compose -f - --project-directory docker config >"$work/config" 2>"$work/said"; then
    complain "docker/compose.yaml: $(cat "$work/said")"
fi
grep -q '^name: [a-z_]*$' docker/compose.yaml || complain "docker/compose.yaml has no name"

tools/docker.sh secrets "$work/secrets"
tools/docker/check_compose.py "$work/secrets" || failed=1
# A second run changes nothing.
before=$(cat "$work"/secrets/*)
tools/docker.sh secrets "$work/secrets"
[ "$before" = "$(cat "$work"/secrets/*)" ] || complain "tools/docker.sh changes secrets"

# Prometheus finds the rules where compose mounts them.
sed "s|/etc/prometheus/rules/|$PWD/monitoring/rules/|" \
    docker/prometheus/prometheus.yml >"$work/prometheus.yml"
"$prometheus/promtool" check config --lint=all --lint-fatal "$work/prometheus.yml" \
    >"$work/said" 2>&1 || complain "$(cat "$work/said")"
grep -q '[1-9][0-9]* rules' "$work/said" || complain "prometheus.yml finds no rules"

# What the extension needs at run time is in the last stage of the image.
for file in birthday_scheduler.so bs_sender; do
    [ -f "$file" ] || complain "build first: no $file"
done
# Readers that stop early would end the writer, and with it this script.
last_stage=$(tac docker/Dockerfile | awk '!done; /^FROM/ { done = 1 }')
while read -r library; do
    file=$(ldconfig -p | awk -v name="$library" '$1 == name && !seen++ { print $NF }')
    package=$(dpkg-query -S "$(readlink -f "$file")" "$file" 2>/dev/null |
        sed -n '1s/:.*//p') || true
    case $package in
    libc6) ;;
    # The Dockerfile adds t64 itself.
    *) grep -qw -- "${package%t64}" <<<"$last_stage" ||
        complain "docker/Dockerfile does not install ${package:-what has} $library" ;;
    esac
done < <(readelf -d birthday_scheduler.so bs_sender | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')

for script in docker/postgres/*.sh docker/postgres/init/*.sh; do
    [ ! -f "$script" ] || bash -n "$script" || failed=1
done

exit "$failed"
