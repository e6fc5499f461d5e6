# Sourced by nftables.sh and ufw.sh: which ports a host of ours opens, and which it keeps to itself.
# Spaces separate ports; ranges are written 8080-8082.
# shellcheck shell=sh disable=SC2034 # used by who sources this

# Open to everybody: HTTP, HTTPS, and HTTP/3 over UDP.
OPEN_TCP="80 443 ${ALLOW_TCP:-}"
OPEN_UDP="443 ${ALLOW_UDP:-}"

# Edge, auth, core, PostgreSQL, Redis: for this machine alone. Set SERVICE_PORTS where yours listen elsewhere.
SERVICE_PORTS="${SERVICE_PORTS:-8080-8082 5432 6379}"

die() {
    echo "error: $1" >&2
    exit "${2:-1}"
}

need_root() {
    [ "$(id -u)" -eq 0 ] || die "only root may change the firewall: run it with sudo"
}

# Every port that SSH may come in by: what was asked for (else 22), what sshd listens on, and what carries a session now
# (sudo forgets SSH_CONNECTION). Forgetting one of them would lock somebody out.
ssh_ports() {
    {
        echo "${SSH_PORT:-22}" | tr ' ' '\n'
        echo "${SSH_CONNECTION:-}" | awk '{ print $4 }'
        ss -Htanp 2>/dev/null | awk '/"sshd/ { sub(/.*:/, "", $4); print $4 }'
    } | grep -E '^[0-9]+$' | sort -nu
}

check_ports() {
    for port in $OPEN_TCP $OPEN_UDP $SERVICE_PORTS ${SSH_PORT:-}; do
        echo "$port" | grep -Eq '^[0-9]{1,5}(-[0-9]{1,5})?$' || die "$port is no port: use numbers, or a range as 8080-8082" 2
    done
}
