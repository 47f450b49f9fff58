#!/usr/bin/env bash
#
# typedefs.sh plain|server
#     The names of types that tools/indent.sh tells pg_bsd_indent about: those
#     that are defined in this tree, and those of tools/typedefs.list.
#
# "plain" is for code that never sees the server's headers: there "text" is the
# name of a variable and not a type.
#
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

case ${1-} in
    plain) last='^# The server' ;;
    server) last='^# The end' ;;
    *) echo "usage: $0 plain|server" >&2 && exit 2 ;;
esac

# typedef ... Name; without what is in braces, or typedef ... (*Name) (...);
own() {
    cat src/*/*.[ch] src/*/*/*.[ch] test/unit/*.[ch] test/fuzz/*.[ch] \
        test/bench/*.[ch] | perl -0777 -ne '
        s!/\*.*?\*/!!gs;
        while (/^typedef\b((?:[^;{}]|(\{(?:[^{}]|(?2))*\}))*);/gm)
        {
            my $type = $1;
            1 while $type =~ s/\{[^{}]*\}//;
            print "$1\n" if $type =~ /\(\*\s*(\w+)\)/ or $type =~ /(\w+)(?:\[.*\])?\s*$/;
        }'
}

{
    own
    sed "/$last/,\$d; s/#.*//; /^[[:space:]]*\$/d" tools/typedefs.list
} | sort -u
