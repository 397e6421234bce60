#!/bin/bash
# Runs the scripts around the services' life, as dev:  lifecycle post_start|pre_stop SERVICE…
set -u
run=/run/nexus
case $1 in
post_start)
    exec {nap}<> <(:)
    for service in "${@:2}"; do
        until [ -e "$run/up/$service" ]; do read -rt 0.1 -u "$nap" _ || :; done
    done
    if /usr/local/lib/nexus/scripts /etc/nexus/post_start always; then
        echo '- scripts_done' >>"$run/events"
    else
        echo "- script_failed $(</home/dev/.nexus/failed)" >>"$run/events"
        exit 1
    fi
    ;;
pre_stop) /usr/local/lib/nexus/scripts /etc/nexus/pre_stop always ;;
esac
