#!/usr/bin/env bash
# Puts the Autobahn|Testsuite (wstest) into a folder: install.sh FOLDER. It is Python 2, so it needs CPython 2.7, a C
# compiler and PyPI; about a minute.
set -euo pipefail
target=${1:?usage: install.sh FOLDER}
requirements=$(dirname "$0")/requirements.txt

python=${PYTHON27:-$(type -P python2.7 || true)}
if [ -z "${PYTHON27:-}" ] && prefix=$(pyenv prefix 2.7.18 2>/dev/null); then
  python=$prefix/bin/python2.7
fi
# A shim of pyenv's is there for versions that are not.
if ! "${python:-false}" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
  {
    echo "the Autobahn|Testsuite needs CPython 2.7${python:+ and $python is none}. To get it:"
    echo "  pyenv install 2.7.18          (https://github.com/pyenv/pyenv; it is found by itself)"
    echo "or name one that is there:"
    echo "  PYTHON27=/path/to/python2.7 scripts/conformance"
  } >&2
  exit 1
fi

rm -rf "$target"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_PYTHON_VERSION_WARNING=1 PYTHONWARNINGS=ignore
"$python" -m pip install --quiet --target "$tools" virtualenv==20.15.1
PYTHONPATH=$tools "$python" -m virtualenv --quiet "$target"
# Twisted's setup.py imports it, and where builds are isolated pip would fetch one that is Python 3.
"$target/bin/pip" install --quiet --no-deps incremental==16.10.1
"$target/bin/pip" install --quiet --no-deps --no-build-isolation --requirement "$requirements"
"$target/bin/wstest" -a >/dev/null
# The mark of an installation that is whole, and of which one it is.
cp "$requirements" "$target/requirements.txt"
