#!/bin/sh
# The same firewall with ufw: SSH, HTTP and HTTPS come in, everything else does not. A second time changes nothing.
#
#   ufw.sh [--dry-run]
#
# Environment: SSH_PORT (22), ALLOW_TCP and ALLOW_UDP (more ports to open), SERVICE_PORTS (8080-8082 5432 6379).
# ufw does not see ports that Docker publishes; nftables.sh does.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=ports.sh
. "$here/ports.sh"

case "${1:-}" in
"") run() { ufw "$@"; } ;;
--dry-run) run() { echo "ufw $*"; } ;;
*) die "usage: ufw.sh [--dry-run]" 2 ;;
esac

check_ports
[ "${1:-}" = --dry-run ] || need_root
command -v ufw >/dev/null || die "ufw is not installed: apt-get install ufw"

# SSH first: from here on nothing can lock out who is typing.
for port in $(ssh_ports); do
    run allow "$port/tcp"
done
for port in $OPEN_TCP; do
    run allow "$(echo "$port" | tr - :)/tcp"
done
for port in $OPEN_UDP; do
    run allow "$(echo "$port" | tr - :)/udp"
done
# Denied anyway; said so that nobody opens them with a wider rule later.
for port in $SERVICE_PORTS; do
    run deny "$(echo "$port" | tr - :)/tcp"
done
run default deny incoming
run default allow outgoing
run --force enable
