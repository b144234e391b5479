#!/bin/sh
# Installs the Debian package of each command that is missing, and says so first. Does nothing when all are there.
# Usage: packages.sh [tests]   with `tests`: also the other tools that the tests hold pullet against
set -eu
missing=
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
PATH=$PATH:/usr/sbin:/sbin
command -v runc >/dev/null 2>&1 || need crun crun
need docker-registry docker-registry
need kubectl kubernetes-client
need ip iproute2
need iptables iptables
need mkfs.ext4 e2fsprogs
need busybox busybox-static
[ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || missing="$missing containernetworking-plugins"
if [ "${1:-}" = tests ]; then
    need crun crun
    need runc runc
    need skopeo skopeo
    need podman podman
    need umoci umoci
    need bsdtar libarchive-tools
    need cc gcc
    [ -e /usr/include/stdint.h ] || missing="$missing libc6-dev"
fi
[ -z "$missing" ] && exit 0
command -v apt-get >/dev/null || {
    echo "missing:$missing. This machine has no apt-get: install them with its own package manager." >&2
    exit 1
}
echo "installing Debian packages:$missing"
[ "$(id -u)" = 0 ] && as_root= || as_root=sudo
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
