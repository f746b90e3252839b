#!/usr/bin/env bash
# Start or stop Ray on this machine, as the head of a cluster or as one of its workers. See ray-node.md.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ray-node.sh token                              make the cluster's token, once
       ray-node.sh head [OPTIONS] [-- RAY_OPTIONS]    start Ray on the first machine
       ray-node.sh worker --head HOST[:PORT] [OPTIONS] [-- RAY_OPTIONS]
       ray-node.sh stop                               stop Ray on this machine

  --interface NAME   network interface for Ray, gloo and NCCL; default: the one that Ray finds
  --cpus N           CPUs to offer; default: all
  --gpus N           GPUs to offer; default: all that Ray finds
  --port N           of the head, default 6379
  --wait N           seconds that a worker waits for the head, default 120
  --block            stay in the foreground, as a service manager wants it
  RAY_OPTIONS        go to `ray start` as they are
TEXT
}

fail() {
    echo "ray-node: $*" >&2
    exit 2
}

number() {
    [[ $2 =~ ^[0-9]+$ ]] || fail "$1 is '$2', allowed is a number"
}

make_token() {
    if [[ -s $token ]]; then
        echo "ray-node: $token is there already"
        return
    fi
    mkdir -p "$(dirname "$token")"
    local new
    new=$(mktemp "$token.XXXXXX") # which only the owner can read
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$new"
    mv -n "$new" "$token"
    rm -f "$new"
    echo "ray-node: $token made; every machine of the cluster needs it, readable by its owner only"
}

check_token() {
    [[ $RAY_AUTH_MODE == token && -z ${RAY_AUTH_TOKEN:-} ]] || return 0
    [[ -s $token ]] || fail "no token in $token; on the head: ray-node.sh token; then copy that file to every machine"
    local mode
    mode=$(stat -Lc %a "$token")
    [[ $mode == *00 ]] || fail "$token has mode $mode: others can read it, and run anything; chmod 600 $token"
}

wait_for_head() {
    local until=$((SECONDS + wait_seconds))
    until (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null; do
        ((SECONDS < until)) || fail "no answer from $host:$port within $wait_seconds s"
        sleep 1
    done
}

case ${1:-} in
    token | head | worker | stop) role=$1 ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
esac
shift

host='' interface='' port=6379 wait_seconds=120
options=()
while (($# > 0)); do
    [[ $1 == --block || $1 == -- || $# -gt 1 ]] || fail "$1: unknown, or without its value"
    case $1 in
        --head) host=$2 ;;
        --interface) interface=$2 ;;
        --cpus) number "$1" "$2" && options+=("--num-cpus=$2") ;;
        --gpus) number "$1" "$2" && options+=("--num-gpus=$2") ;;
        --port) number "$1" "$2" && port=$2 ;;
        --wait) number "$1" "$2" && wait_seconds=$2 ;;
        --block) options+=(--block) ;;
        --) ;;
        *) fail "unknown option $1" ;;
    esac
    case $1 in
        --)
            shift
            options+=("$@")
            break
            ;;
        --block) shift ;;
        *) shift 2 ;;
    esac
done

# Without a token whoever reaches the ports can run anything here: it must be turned off by name.
export RAY_AUTH_MODE=${RAY_AUTH_MODE:-token}
export RAY_worker_niceness=${RAY_worker_niceness:-0} # by default 15: beside any other program a trial would hardly get on
export RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
token=$RAY_AUTH_TOKEN_PATH

case $role in
    token)
        make_token
        exit
        ;;
    stop) exec ray stop --grace-period 20 ;;
esac

check_token
if [[ -n $interface ]]; then
    address=$("$(dirname "$0")/address.sh" "$interface")
    options=("--node-ip-address=$address" "${options[@]}")
    # What Ray starts inherits these: all ranks of a trial meet on this network.
    export GLOO_SOCKET_IFNAME=${GLOO_SOCKET_IFNAME:-$interface} NCCL_SOCKET_IFNAME=${NCCL_SOCKET_IFNAME:-$interface}
fi

# The same ports everywhere, for the firewall. Trials take others, of the range that the system gives out.
options=(
    --node-manager-port=6380 --object-manager-port=6381 --runtime-env-agent-port=6382 --metrics-export-port=6383
    --dashboard-agent-grpc-port=6384 --dashboard-agent-listen-port=52365
    --min-worker-port=10002 --max-worker-port=19999 --disable-usage-stats "${options[@]}"
)
if [[ $role == head ]]; then
    exec ray start --head --port="$port" --dashboard-host=127.0.0.1 --dashboard-port=8265 "${options[@]}"
fi
[[ -n $host ]] || fail "worker: --head HOST[:PORT] is needed"
if [[ $host == *:* ]]; then
    port=${host##*:} host=${host%:*}
fi
wait_for_head
exec ray start --address="$host:$port" "${options[@]}"
