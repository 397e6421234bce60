#!/bin/bash -l
# Runs the text in the file $1 in the repository with a login's environment: as `bash -e`, or by its own first line if
# that names an interpreter. With `exec` as $2 it takes this process's place and stops at no error, as a prompt would.
# Nothing of its own is left in the environment.
set -a
# shellcheck source=/dev/null
[ ! -r /etc/nexus/env ] || . /etc/nexus/env
# shellcheck source=/dev/null
[ ! -r "${1%/*}/env" ] || . "${1%/*}/env"
set +a
set -- "$1" "${2:-}"
cd /home/dev/workspace || exit
case $(head -c 2 -- "$1") in
'#!') exec "$1" ;;
esac
[ "$2" = exec ] || exec /bin/bash -e "$1"
exec /bin/bash -c "$(<"$1")"
