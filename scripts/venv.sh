#!/bin/sh
# Makes the virtual environment from the lock file. Usage: venv.sh PYTHON DIRECTORY
set -eu
python=$1 venv=$2
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "pullet needs Python 3.11 or newer; '$python' is $("$python" -V 2>&1). Try: make PYTHON=python3.11" >&2
    exit 1
}
if ! "$python" -c 'import ensurepip' 2>/dev/null && command -v apt-get >/dev/null; then
    echo "installing python3-venv (needed to make $venv)"
    [ "$(id -u)" = 0 ] && as_root= || as_root=sudo
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
fi
echo "setting up $venv from requirements.lock"
[ -x "$venv/bin/pip" ] || "$python" -m venv "$venv"
"$venv/bin/pip" --quiet --disable-pip-version-check install --require-hashes -r requirements.lock
"$venv/bin/pip" --quiet --disable-pip-version-check install --no-deps --no-build-isolation --editable .
