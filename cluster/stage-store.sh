#!/usr/bin/env bash
# Copy a graph store from a shared disk to this machine's own, once, and verify its checksums. See stage-store.md.
#   stage-store.sh NAME FROM TO
# FROM and TO are folders of stores; the last is what $UGTS_STORES should say afterwards.
set -euo pipefail

fail() {
    echo "stage-store: $*" >&2
    exit 2
}

(($# == 3)) || fail "usage: stage-store.sh NAME FROM TO"
name=$1 from=$2/$1 to=$3/$1
[[ -n $name && $name != .* && $name != */* ]] || fail "NAME is '$name', allowed is the name of a store"
[[ -f $from/meta.json ]] || fail "$from: is no graph store (meta.json is missing)"
mkdir -p "$3" || fail "$3: can't be made"

# One at a time: the others of this machine wait here, and find the store when they come in.
exec 9>"$3/.$name.lock"
flock 9

if [[ -e $to ]]; then
    cmp --silent "$from/meta.json" "$to/meta.json" || fail "$to: is another store than $from; remove it first"
    echo "stage-store: $to is there already" >&2
    exit
fi

new=$3/.$name.new
rm -rf "$new" # what a copy left that was killed
trap 'rm -rf "$new"' EXIT
mkdir "$new"
cp -- "$from"/meta.json "$from"/*.npy "$new" || fail "$from: could not be copied to $3"
ugts prepare "$name" --verify --out "$new" >&2 || fail "$from: the copy has other checksums than its meta.json says"
sync -f "$new"
mv -T "$new" "$to"
echo "stage-store: $to copied and verified" >&2
