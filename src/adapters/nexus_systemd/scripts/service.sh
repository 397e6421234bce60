#!/bin/bash
# What the units of services call, as dev. Started for each service by systemd, whether the server is there or not:
#   service due NAME     whether it is to be run at all: not if it did its work since the boot, such as a migration
#   service wait NAME    before its command: until all it depends on are healthy, and a while longer after each crash
#   service gate NAME    after its command has begun: until it is healthy, or has not been in its time
#   service ended NAME   after it has ended, however it did
#   service look NAME    one look at its health: 0 healthy, 124 no answer in time, else not
#   service relay NAME   (as root) make a service that listens on ::1 alone reachable at 127.0.0.1
# What happens is told in /run/nexus/events, one line each, which the server follows.
set -u
verb=$1 name=$2
here=/etc/nexus/services/$name run=/run/nexus
# depends=(…) kind port path expected timeout retries interval_us start_period_us
# shellcheck source=/dev/null
. "$here/settings"

say() { printf '%s %s\n' "$name" "$*" >>"$run/events"; }
now() { now=${EPOCHREALTIME/[.,]/}; }
# A pause without a process: reading from a pipe that nobody writes to.
pause() { read -rt "$1" -u "$nap" _ || :; }

wait_for_dependencies() {
    exec {nap}<> <(:)
    mkdir -p "$run/up" "$run/crashes"
    rm -f "$run/up/$name"
    local crashes=0 tenths=0
    [ ! -e "$run/crashes/$name" ] || read -r crashes tenths <"$run/crashes/$name"
    [ "$tenths" = 0 ] || pause "$((tenths / 10)).$((tenths % 10))"
    local dependency
    for dependency in "${depends[@]}"; do
        until [ -e "$run/up/$dependency" ]; do pause 0.1; done
    done
    say starting
}

# Any answer is one; what it says is judged by the caller.
http_status() {
    # shellcheck disable=SC2016 # for the inner shell
    timeout -k 1 "$timeout" bash -c '
        { exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || { exec 3<>"/dev/tcp/::1/$1"; } 2>/dev/null || exit 1
        printf "GET %s HTTP/1.1\r\nHost: localhost:%s\r\nUser-Agent: Nexus\r\nAccept: */*\r\nConnection: close\r\n\r\n" "$2" "$1" >&3
        IFS=" " read -r _ status _ <&3 && echo "${status%$'"'\r'"'}"' - "$port" "$path"
}

accepts() { # address
    # shellcheck disable=SC2016 # for the inner shell
    timeout -k 1 "$timeout" bash -c 'exec 3<>"/dev/tcp/$1/$2"' - "$1" "$port" 2>/dev/null
}

look() {
    local status
    case $kind in
    none) return 0 ;;
    tcp) accepts 127.0.0.1 || accepts ::1 ;;
    http)
        status=$(http_status) || return
        case $status in
        "$expected") return 0 ;;
        [1-3][0-9][0-9]) [ -z "$expected" ] ;;
        *) return 1 ;;
        esac
        ;;
    *) timeout -k 1 "$timeout" "$here/check" ;;
    esac
}

# The address that something listens at, at this port, as the kernel's table has it; nothing if nobody does. Found without
# starting a process, as it is asked many times while a service starts.
listener() { # table
    local address state suffix
    printf -v suffix ':%04X' "$port"
    listener=
    while read -r _ address _ state _; do
        # Listeners come first, after the heading.
        [ "$state" = 0A ] || { [ "$state" = st ] && continue || break; }
        [ "${address: -5}" != "$suffix" ] || { listener=${address%:*} && return; }
    done <"$1"
} 2>/dev/null

listens() {
    listener /proc/net/tcp
    [ -n "$listener" ] || listener /proc/net/tcp6
    [ -n "$listener" ]
}

seems_well() {
    case $kind in
    tcp | http) listens && look ;;
    *) look ;;
    esac
}

healthy() {
    : >"$run/up/$name"
    now
    echo "$now" >"$run/up/$name"
    say healthy
}

gate() {
    exec {nap}<> <(:)
    now
    local began=$now next=$((now + start_period_us + interval_us)) failures=0 nap_s=0.05
    [ "$kind" != exec ] || nap_s=0.25
    while :; do
        # Gone already: what systemd makes of that is told by `ended`.
        [ -d "/proc/$MAINPID" ] || { [ "$kind" = none ] && return 0 || return 1; }
        now
        if [ "$kind" = none ]; then
            [ $((now - began)) -lt 500000 ] || { healthy && return; }
        elif seems_well >/dev/null 2>&1; then
            healthy
            return
        else
            now
            if [ "$now" -ge "$next" ]; then
                failures=$((failures + 1)) next=$((now + interval_us))
                if [ "$failures" -ge "$retries" ]; then
                    say "failed $failures checks ($kind) in a row found it not healthy"
                    return 1
                fi
            fi
        fi
        [ $((now - began)) -lt 5000000 ] || nap_s=0.25
        pause "$nap_s"
    done
}

ended() {
    # For $SERVICE_RESULT and its companions see systemd.exec(5). It was not due: nothing has changed.
    [ "$SERVICE_RESULT" != exec-condition ] || return 0
    local up=0 crashes=0
    [ ! -s "$run/up/$name" ] || up=$(<"$run/up/$name")
    rm -f "$run/up/$name"
    if [ "${EXIT_CODE:-}" = exited ] && [ "${EXIT_STATUS:-}" = 0 ] && [ "$SERVICE_RESULT" = success ]; then
        rm -f "$run/crashes/$name"
        if [ "$kind" = none ]; then
            # It did its work: what depends on it may go on.
            mkdir -p "$run/finished"
            : >"$run/finished/$name"
            : >"$run/up/$name"
            say finished
            return
        fi
    else
        [ ! -e "$run/crashes/$name" ] || read -r crashes _ <"$run/crashes/$name"
        now
        # Up for a minute: what happened before is forgiven.
        [ "$up" = 0 ] || [ $((now - up)) -lt 60000000 ] || crashes=0
        crashes=$((crashes + 1))
        # Half a second, and twice as long each time, up to half a minute. One that was healthy stays down until whoever
        # looks every interval has seen it.
        local tenths=$((crashes < 7 ? 5 << (crashes - 1) : 300)) seen=$((interval_us / 100000 + 5))
        [ "$up" = 0 ] || [ "$seen" -le "$tenths" ] || tenths=$((seen < 150 ? seen : 150))
        echo "$crashes $tenths" >"$run/crashes/$name"
    fi
    say "ended ${SERVICE_RESULT:-unknown} ${EXIT_CODE:-none} ${EXIT_STATUS:-none}"
}

relay() {
    [ -n "$port" ] || return 0
    listener /proc/net/tcp
    [ -z "$listener" ] || return 0
    listener /proc/net/tcp6
    # ::1 as the table has it; whoever listens at :: is reached by IPv4 as well.
    [ "$listener" != 00000000000000000000000001000000 ] || systemctl start --no-block "nexus-relay@$port.socket"
}

case $verb in
due) [ ! -e "$run/finished/$name" ] ;;
wait) wait_for_dependencies ;;
gate) gate ;;
ended) ended ;;
look) look ;;
relay) relay ;;
esac
