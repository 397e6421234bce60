#!/bin/bash
# Runs the scripts of a folder in order, and stops at the first that fails:  scripts FOLDER once|always
# `once` passes over those that an earlier run finished. Which one failed and how is left in ~/.nexus/failed.
set -u
folder=$1 done=/home/dev/.nexus/done
mkdir -p "$done" /home/dev/workspace
rm -f /home/dev/.nexus/failed
for script in "$folder"/*.script; do
    [ -e "$script" ] || break
    number=${script##*/} number=$((10#${number%.script}))
    mark=$done/${folder##*/}-$number-$(sha256sum <"$script" | cut -c1-16)
    [ "$2" = always ] || [ ! -e "$mark" ] || continue
    printf '==> %s\n' "$(grep -m1 -v -e '^#' -e '^[[:space:]]*$' "$script" || head -n1 "$script")"
    /usr/local/lib/nexus/run "$script" </dev/null
    code=$?
    if [ "$code" != 0 ]; then
        printf '==> ended with exit code %s\n' "$code"
        echo "$number $code" >/home/dev/.nexus/failed
        exit 1
    fi
    : >"$mark"
done
