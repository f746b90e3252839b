#!/usr/bin/env bash
# Build the image of the project for Kubernetes, and try it: whose user it runs as, and whether its programs answer.
#   image.sh [TAG]
# See kuberay-rayjob.md.
set -euo pipefail
tag=${1:-ugts-dist:0.2.0}
home=$(cd "$(dirname "$0")/.." && pwd)

fail() {
    echo "image: $*" >&2
    exit 2
}

engine=$(command -v docker || command -v podman) || fail "no container engine; docker or podman is needed"
"$engine" build --file "$home/cluster/Dockerfile" --tag "$tag" "$home"

inside() {
    "$engine" run --rm "$tag" "$@"
}

user=$(inside id -un)
[[ $user == ray ]] || fail "$tag runs as $user, and should as ray"
inside ugts --help >/dev/null || fail "$tag: ugts does not answer"
inside ray --version
inside test -x /opt/ugts_dist/cluster/stage-store.sh || fail "$tag: the scripts of cluster/ are missing"
echo "image: $tag built and tried"
