#!/usr/bin/env bash
# Creates .venv with the package (editable) and its tools, and installs the programs that live
# tests use where that is possible. Safe to run again: it does only what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup: %s\n' "$*"; }
is_root() { [ "$(id -u)" = 0 ]; }
can_install() { is_root && command -v apt-get >/dev/null; }

apt_updated=
apt_install() {
    if [ -z "$apt_updated" ]; then
        say "apt-get update"
        apt-get update -qq || true
        apt_updated=1
    fi
    # RUNLEVEL=1 keeps Debian from starting the services it installs.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

find_python() {
    local name
    for name in ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

make_venv() {
    local python=$1
    say "creating .venv with $("$python" --version) ($python)"
    "$python" -m venv .venv >/dev/null 2>&1 && return
    rm -rf .venv
    # Debian keeps ensurepip in a package of its own.
    if can_install; then
        local version
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        say "installing python$version-venv"
        apt_install "python$version-venv" || apt_install python3-venv || true
        "$python" -m venv .venv >/dev/null 2>&1 && return
        rm -rf .venv
    fi
    "$python" -m virtualenv -q .venv >/dev/null 2>&1 && return
    rm -rf .venv
    "$python" -m venv --without-pip .venv >/dev/null 2>&1 &&
        "$python" -m pip --python .venv/bin/python install -q pip && return
    rm -rf .venv
    say "cannot create a virtual environment: $python has neither ensurepip, virtualenv nor pip." >&2
    say "On Debian or Ubuntu: apt-get install python3-venv, then run make again." >&2
    return 1
}

install_packages() {
    say "installing Python packages into .venv (a minute or two the first time)"
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
        -e '.[cli,test,dev]' | grep -Ev '^Requirement already satisfied|^  ' || return "${PIPESTATUS[0]}"
}

# What live runs need, as program:package; a C compiler and Python.h are for the compiled build.
install_programs() {
    local pair missing=()
    for pair in curl:curl nginx:nginx-light iperf3:iperf3 ip:iproute2 tshark:tshark ethtool:ethtool gcc:gcc; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    if ! .venv/bin/python -c 'import sysconfig, os, sys
sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'; then
        missing+=(python3-dev)
    fi
    [ ${#missing[@]} = 0 ] && return
    if ! can_install; then
        say "not installed, and needed by live runs or the compiled build: ${missing[*]} (as root: apt-get install ${missing[*]})"
        return
    fi
    say "installing ${missing[*]}"
    apt_install "${missing[@]}" && return
    # One package that this release lacks must not keep the others away.
    local package
    for package in "${missing[@]}"; do
        apt_install "$package" || say "could not install $package; what needs it will say so"
    done
}

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    if ! python=$(find_python); then
        if can_install; then
            say "installing python3"
            apt_install python3 python3-venv || true
        fi
        python=$(find_python) || { say "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 1; }
    fi
    rm -rf .venv
    make_venv "$python"
fi
install_packages
install_programs
touch .venv/.ready
say "done"
