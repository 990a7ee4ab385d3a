# SPDX-License-Identifier: Apache-2.0
# Sourced by tests/run, tests/bare and deploy/quickstart: the Debian packages, in one place.
PACKAGES_BUILD="gcc libc6-dev cmake ninja-build pkg-config libuv1-dev libmbedtls-dev libprotobuf-c-dev
protobuf-c-compiler protobuf-compiler libsqlite3-dev libseccomp-dev libssl-dev libjansson-dev libxen-dev libtss2-dev"
# What deploy/quickstart shows its work with.
PACKAGES_DEMO="trousers tpm-tools sqlite3"
PACKAGES_TEST="$PACKAGES_DEMO tpm-quote-tools tpm-tools-pkcs11 opencryptoki clang libclang-rt-dev libcmocka-dev python3 swtpm tpm2-tools openssl mandoc git binutils systemd strace valgrind
shellcheck busybox-static"
# tests/xen and tests/qemu; Xen itself and what goes into its image is downloaded by tests/xen/image.py, not installed.
PACKAGES_XEN="qemu-system-x86 e2fsprogs udev libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients"

# Installs those that are missing; says so first; sudo where needed.
install_packages() {
    local missing= name as=
    for name in "$@"; do
        dpkg-query -W -f='${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || missing="$missing $name"
    done
    [ -n "$missing" ] || return 0
    echo "installing Debian packages:$missing"
    if [ "$(id -u)" -ne 0 ]; then
        as=sudo
        command -v sudo >/dev/null || { echo "not root and no sudo: as root, apt-get install$missing" >&2; return 1; }
    fi
    # trousers starts its daemon when it is installed, where there is something to start it: not wanted here.
    $as apt-get update -q >/dev/null || { echo "apt-get update failed" >&2; return 1; }
    # shellcheck disable=SC2086
    $as env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends $missing >/dev/null ||
        { echo "apt-get install failed:$missing" >&2; return 1; }
}
