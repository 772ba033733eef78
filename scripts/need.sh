# shellcheck shell=bash
# Sourced by scripts that need programs: says what is missing, and installs it on Debian or Ubuntu.
missing=()
# need PROGRAM PACKAGE
need() { type -P "$1" >/dev/null || missing+=("$2"); }
# Debian keeps PostgreSQL's server out of the PATH, by version.
need_postgres() { [ -n "$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || need initdb postgresql; }
install_missing() {
  [ "${#missing[@]}" -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "$0 needs: ${missing[*]}" >&2
    exit 1
  fi
  local sudo
  sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
