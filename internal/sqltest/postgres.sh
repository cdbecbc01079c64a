#!/usr/bin/env bash
# A throw-away PostgreSQL for the tests.
#
#   postgres.sh start DIR   makes a server in DIR, an empty folder, on a free port
#                           of the loopback interface, and prints its URL; it
#                           installs PostgreSQL when that is missing (Debian,
#                           as root or with sudo)
#   postgres.sh restart DIR stops it at once, as a crash does, and starts it again
#   postgres.sh stop DIR    stops it and empties DIR
#
# When there can't be one, it says why and exits with 1.
set -euo pipefail

say() { echo "postgres.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

# bin prints where the server's programs are. Debian keeps them out of PATH.
bin() {
  local dir
  for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -Vr) "$(dirname "$(command -v pg_ctl || echo /none/pg_ctl)")"; do
    if [ -x "$dir/initdb" ] && [ -x "$dir/pg_ctl" ]; then
      echo "$dir"
      return
    fi
  done
  return 1
}

install() {
  command -v apt-get >/dev/null || fail "PostgreSQL is not installed, and there is no apt-get to install it with"
  local root=()
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || fail "PostgreSQL is not installed, and to install it takes root or sudo without a password"
    root=(sudo -n)
  fi
  say "installing PostgreSQL"
  local log
  log=$(mktemp)
  # An update can fail for a source that does not matter here.
  "${root[@]}" apt-get update >"$log" 2>&1 || say "apt-get update failed, going on: $(tail -n 1 "$log")"
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail "apt-get can't install PostgreSQL, see above"
  }
  rm -f "$log"
}

# as runs a command as somebody whom the server accepts: it refuses root.
as() {
  if [ "$(id -u)" != 0 ]; then
    "$@"
  elif command -v runuser >/dev/null; then
    runuser -u postgres -- "$@"
  else
    su postgres -s /bin/sh -c '"$0" "$@"' -- "$@"
  fi
}

start() {
  local dir=$1 programs port url
  programs=$(bin) || { install; programs=$(bin) || fail "PostgreSQL was installed but has no initdb"; }
  mkdir -p "$dir"
  if [ "$(id -u)" = 0 ]; then
    id postgres >/dev/null 2>&1 || fail "PostgreSQL does not run as root, and there is no user called postgres"
    chown postgres "$dir"
  fi
  cd /
  as "$programs/initdb" -D "$dir/data" -A trust -U postgres --encoding=UTF8 --locale=C >"/dev/null" 2>"$dir/initdb.log" || {
    cat "$dir/initdb.log" >&2
    fail "initdb failed, see above"
  }
  for _ in 1 2 3 4 5 6 7 8; do
    port=$((20000 + RANDOM % 12000)) # below those that the system hands out
    # The socket's path may be no longer than some 100 bytes; there is none.
    if as "$programs/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -w -t 60 \
      -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300" start >/dev/null 2>&1; then
      echo "postgres://postgres@127.0.0.1:$port/postgres?sslmode=disable"
      return
    fi
  done
  tail -n 20 "$dir/data/server.log" >&2 || true
  fail "the server does not start, see above"
}

stop() {
  local dir=$1
  [ -e "$dir/data/PG_VERSION" ] || fail "there is no server in $dir"
  cd /
  as "$(bin)/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || say "it was not running"
  rm -rf "$dir/data" "$dir/initdb.log"
}

# restart keeps the options, and with them the port.
restart() {
  local dir=$1
  [ -e "$dir/data/PG_VERSION" ] || fail "there is no server in $dir"
  cd /
  as "$(bin)/pg_ctl" -D "$dir/data" -l "$dir/data/server.log" -m immediate -w -t 60 restart >/dev/null || fail "it does not restart"
}

if [ $# != 2 ]; then
  sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
  exit 1
fi
dir=$(realpath -m "$2")
case $1 in
start) start "$dir" ;;
restart) restart "$dir" ;;
stop) stop "$dir" ;;
*) fail "start, restart or stop, not $1" ;;
esac
