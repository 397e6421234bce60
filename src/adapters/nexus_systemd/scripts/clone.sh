#!/bin/bash
# Clones the repository as dev, unless there is one already. What to clone is in /etc/nexus/clone: url, branch (empty: the
# repository's own), ssh (the command for it, or empty); what opens it, and a bundle, are in ~/.nexus.
set -u
export HOME=/home/dev GIT_TERMINAL_PROMPT=0 LC_ALL=C.UTF-8
into=/home/dev/workspace mine=/home/dev/.nexus what=/etc/nexus/clone
work=$mine/clone bundle=$mine/repository.bundle keys=$mine/git-credentials
[ ! -e "$into/.git" ] || exit 0
url=$(<$what/url) branch=$(<$what/branch) ssh=$(<$what/ssh)
[ -z "$ssh" ] || export GIT_SSH_COMMAND=$ssh

git=(git)
[ ! -e "$keys" ] || git+=(-c credential.helper= -c "credential.helper=store --file=$keys")
options=(--no-hardlinks)
[ -z "$branch" ] || options+=(--branch "$branch")
from=$url
if [ -e "$bundle" ]; then from=$bundle; else options+=(--depth 1); fi

: >"$mine/output"
clone() {
    rm -rf "$work"
    "${git[@]}" clone "$@" -- "$from" "$work" 2>&1 | tee "$mine/output"
    return "${PIPESTATUS[0]}"
}
printf '==> git clone %s\n' "${url:-repository.bundle}"
if ! clone "${options[@]}"; then
    # A server of plain files cannot give a part of the history.
    grep -q 'does not support shallow' "$mine/output" || exit 1
    options=("${options[@]/--depth/}") options=("${options[@]/#1/}")
    clone ${branch:+--branch "$branch"} || exit 1
fi

cd "$work" || exit 1
if [ -e .gitmodules ]; then
    # Some servers give no single commit that is not the tip of a branch; then the whole history has to come.
    { "${git[@]}" submodule update --init --recursive --depth 1 2>&1 ||
        "${git[@]}" submodule update --init --recursive 2>&1; } | tee "$mine/output"
    [ "${PIPESTATUS[0]}" = 0 ] || exit 1
fi
# As a clone of everything would have it, so that `git fetch --unshallow` and other branches are a matter of course.
if [ -z "$url" ]; then
    git remote remove origin
else
    git remote set-url origin "$url"
    git config remote.origin.fetch '+refs/heads/*:refs/remotes/origin/*'
fi
[ ! -e "$keys" ] || git config credential.helper "store --file=$keys"
[ ! -e "$mine/deploy_key" ] || git config core.sshCommand "$ssh"

if [ -d "$into" ] && ! rmdir "$into" 2>/dev/null; then
    echo "fatal: $into is not empty; move what is in it aside" | tee "$mine/output"
    exit 1
fi
mv -T "$work" "$into" && rm -f "$bundle"
