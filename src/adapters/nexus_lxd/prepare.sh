#!/bin/sh
# Runs once, as root, in an instance of an image that was not made for workspaces, and makes it fit: an SSH server that
# takes keys only, the user dev (1000) with sudo, git, curl, bash and nft, and the network from templates. Its only
# argument is the gateway. Its output is shown, from the end, to whoever asked for the image.
set -eu
exec >/nexus-prepare.log 2>&1
export DEBIAN_FRONTEND=noninteractive
gateway=$1

have() { command -v "$1" >/dev/null 2>&1; }
die() {
    echo "$1"
    exit 1
}

[ -d /run/systemd/system ] || die "This image does not run systemd, which workspaces need."
if have cloud-init; then timeout 180 cloud-init status --wait || true; fi

# --- network ---
# The address was set from outside; a name server may be missing, or be one that is not running yet.
mirror=$(grep -rhoE 'https?://[^/ ]+' /etc/apt/sources.list /etc/apt/sources.list.d /etc/yum.repos.d 2>/dev/null | head -n 1)
mirror=${mirror#*://}
resolves() { [ -z "$mirror" ] || getent hosts "$mirror" >/dev/null 2>&1; }
waited=0
until resolves; do
    if [ "$waited" = 3 ]; then
        rm -f /etc/resolv.conf
        echo "nameserver $gateway" >/etc/resolv.conf
    fi
    # Names may be unresolvable and the packages there all the same, or come through a proxy: apt has the last word.
    [ "$waited" -lt 20 ] || break
    waited=$((waited + 1))
    sleep 1
done

# --- packages ---
wanted=
[ -x /usr/sbin/sshd ] || wanted="$wanted openssh-server"
for command in sudo git curl bash; do have "$command" || wanted="$wanted $command"; done
# Leads published ports on to services that listen on the instance's loopback only.
have nft || wanted="$wanted nftables"
have ip || wanted="$wanted iproute2"
[ -x /lib/systemd/systemd-networkd ] || [ -x /usr/lib/systemd/systemd-networkd ] || wanted="$wanted systemd-networkd"
# Without udev, systemd-networkd waits for the network card for ever.
[ -x /lib/systemd/systemd-udevd ] || [ -x /usr/lib/systemd/systemd-udevd ] || wanted="$wanted udev"
if have pkill; then :; elif have apt-get; then wanted="$wanted procps"; else wanted="$wanted procps-ng"; fi
[ -d /etc/ssl/certs ] || wanted="$wanted ca-certificates"
if [ -n "$wanted" ]; then
    if have apt-get; then
        # Another apt may be at work just after boot; -o makes this one wait for it.
        apt-get -o DPkg::Lock::Timeout=120 update || { sleep 5; apt-get -o DPkg::Lock::Timeout=120 update; } ||
            die "apt-get update failed: the instance does not reach its package mirror."
        # shellcheck disable=SC2086 # a list of package names
        apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends $wanted || die "apt-get could not install:$wanted"
        apt-get clean
        rm -rf /var/lib/apt/lists/*
    elif have dnf; then
        wanted=$(echo "$wanted" | sed 's/iproute2/iproute/')
        # shellcheck disable=SC2086 # a list of package names
        dnf install -y $wanted || die "dnf could not install:$wanted"
        dnf clean all
    else
        die "This image has neither apt-get nor dnf to install:$wanted"
    fi
fi

# The rules of a workspace are put in place when there are any; others are not to be in their way.
systemctl disable nftables.service >/dev/null 2>&1 || true

# --- the user ---
shell=/bin/sh
[ ! -x /bin/bash ] || shell=/bin/bash
holder=$(getent passwd 1000 | cut -d: -f1)
if [ -n "$holder" ] && [ "$holder" != dev ]; then
    # Such as `ubuntu` or `debian`: the image's first user becomes dev.
    ! getent passwd dev >/dev/null || die "The user dev exists with another uid than 1000, which $holder has."
    usermod -l dev -d /home/dev -m "$holder"
    ! getent group "$holder" >/dev/null || groupmod -n dev "$holder"
elif getent passwd dev >/dev/null; then
    [ "$(id -u dev)" = 1000 ] || usermod -u 1000 dev
else
    getent group dev >/dev/null || groupadd -g 1000 dev
    useradd -m -u 1000 -g dev -s "$shell" dev
fi
[ "$(id -g dev)" = 1000 ] || { groupmod -g 1000 "$(id -gn dev)" && chgrp -R 1000 /home/dev; }
# `*`, unlike the `!` of a new account, lets keys in.
usermod -p '*' -s "$shell" dev
mkdir -p /home/dev/.ssh
rm -f /home/dev/.ssh/*
chown dev: /home/dev /home/dev/.ssh
chmod 700 /home/dev/.ssh
mkdir -p /etc/sudoers.d
rm -f /etc/sudoers.d/90-cloud-init-users
echo 'dev ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/dev
chmod 440 /etc/sudoers.d/dev

# --- SSH ---
rm -f /etc/ssh/ssh_host_* /etc/ssh/sshd_config.d/*
cat >/etc/ssh/sshd_config <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM yes
X11Forwarding no
UseDNS no
PrintMotd no
PrintLastLog no
ClientAliveInterval 60
AcceptEnv COLORTERM NO_COLOR
Subsystem sftp internal-sftp
END
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
/usr/sbin/sshd -t || die "sshd does not take its configuration."
rm -f /etc/ssh/ssh_host_*
unit=ssh.service
systemctl cat ssh.service >/dev/null 2>&1 || unit=sshd.service
# A socket, or units that make host keys, would get in the way of the key that each workspace is given.
systemctl disable ssh.socket sshd.socket >/dev/null 2>&1 || true
systemctl mask ssh.socket sshd-keygen.target sshd-keygen@.service ssh-host-keys-migration.service >/dev/null 2>&1 || true
systemctl enable "$unit"
mkdir -p "/etc/systemd/system/$unit.d"
cat >"/etc/systemd/system/$unit.d/nexus.conf" <<'END'
[Unit]
StartLimitIntervalSec=0
[Service]
Restart=always
RestartSec=200ms
END
# On stop, sessions are closed while the network can still say so.
cat >/etc/systemd/system/nexus-goodbye.service <<END
[Unit]
Description=Close SSH sessions before the instance stops
After=systemd-networkd.service $unit

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=-$(command -v pkill) -TERM sshd

[Install]
WantedBy=multi-user.target
END
systemctl enable nexus-goodbye.service

# --- network of the instances to come: systemd-networkd, from LXD's templates ---
rm -f /etc/netplan/*.yaml /etc/systemd/network/*.network /etc/NetworkManager/system-connections/*
[ ! -f /etc/network/interfaces ] || printf 'auto lo\niface lo inet loopback\n' >/etc/network/interfaces
systemctl disable NetworkManager.service networking.service systemd-resolved.service >/dev/null 2>&1 || true
systemctl mask systemd-networkd-wait-online.service NetworkManager-wait-online.service >/dev/null 2>&1 || true
systemctl enable systemd-networkd.service
rm -f /etc/resolv.conf
if [ -d /etc/cloud ]; then touch /etc/cloud/cloud-init.disabled; fi

# --- leave nothing behind ---
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/hostname
rm -rf /var/log/journal/* /tmp/*
