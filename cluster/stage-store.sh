#!/usr/bin/env bash
# Copy a graph store, or this machine's share of one, from a shared disk to this machine's own, once, and verify its
# checksums. See stage-store.md.
#   stage-store.sh [--share I/N] NAME FROM TO
# FROM and TO are folders of stores; the last is what $UGTS_STORES should say afterwards.
set -euo pipefail

fail() {
    echo "stage-store: $*" >&2
    exit 2
}

share=
if [[ ${1-} == --share ]]; then
    share=${2-}
    [[ $share =~ ^[0-9]+/[0-9]+$ ]] || fail "--share is '$share', allowed is I/N, such as 2/3"
    shift 2
fi
(($# == 3)) || fail "usage: stage-store.sh [--share I/N] NAME FROM TO"
name=$1 from=$2/$1 to=$3/$1
[[ -n $name && $name != .* && $name != */* ]] || fail "NAME is '$name', allowed is the name of a store"
[[ -f $from/meta.json ]] || fail "$from: is no graph store (meta.json is missing)"
mkdir -p "$3" || fail "$3: can't be made"

# One at a time: the others of this machine wait here, and find the store when they come in.
exec 9>"$3/.$name.lock"
flock 9

# A share has the meta.json of the whole store beside its own, and a file that says which share it is.
if [[ -e $to ]]; then
    if [[ -n $share ]]; then
        cmp --silent "$from/meta.json" "$to/whole.json" || fail "$to: is no share of $from; remove it first"
        found=$(<"$to/share.txt")
        [[ $found == "$share" ]] || fail "$to: is share $found of $from, not $share; remove it first"
    else
        cmp --silent "$from/meta.json" "$to/meta.json" || fail "$to: is another store than $from; remove it first"
    fi
    echo "stage-store: $to is there already" >&2
    exit
fi

new=$3/.$name.new
rm -rf "$new" # what a copy left that was killed
trap 'rm -rf "$new"' EXIT
if [[ -n $share ]]; then
    ugts prepare "$from" --share "$share" --out "$new" >&2 || fail "$from: share $share could not be copied to $3"
else
    mkdir "$new"
    cp -- "$from"/meta.json "$from"/*.npy "$new" || fail "$from: could not be copied to $3"
fi
ugts prepare "$name" --verify --out "$new" >&2 || fail "$from: the copy has other checksums than its meta.json says"
sync -f "$new"
mv -T "$new" "$to"
echo "stage-store: $to copied and verified" >&2
