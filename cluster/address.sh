#!/usr/bin/env bash
# The IPv4 address of this machine on a network interface; without one, on that of the default route.
#   address.sh [INTERFACE]
set -euo pipefail
interface=${1:-}
if [[ -z $interface ]]; then
    interface=$(ip -4 -oneline route show default | awk '{for (i = 1; i < NF; i++) if ($i == "dev") {print $(i + 1); exit}}')
fi
[[ -n $interface ]] || { echo "address: no default route; name an interface" >&2; exit 2; }
address=$(ip -4 -oneline address show dev "$interface" | awk '{sub("/.*", "", $4); print $4; exit}')
[[ -n $address ]] || { echo "address: $interface has no IPv4 address" >&2; exit 2; }
echo "$address"
