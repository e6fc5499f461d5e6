#!/bin/sh
# A firewall for a host, with nftables: SSH, HTTP and HTTPS come in, everything else does not.
#
#   nftables.sh print     the ruleset
#   nftables.sh check     would the kernel take it?
#   nftables.sh apply     load it in one step; a second time changes nothing
#   nftables.sh persist   apply, and load it at every start (nftables.service)
#   nftables.sh remove    take it away again
#
# Environment: SSH_PORT (22), ALLOW_TCP and ALLOW_UDP (more ports to open), SERVICE_PORTS (8080-8082 5432 6379).
# It has a table of its own, `inet gatehouse`, and touches no other: rules of Docker or fail2ban stay as they are.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=ports.sh
. "$here/ports.sh"

RULES_FILE="${RULES_FILE:-/etc/nftables.d/gatehouse.nft}"
MAIN_FILE="${MAIN_FILE:-/etc/nftables.conf}"

# The elements of a set: "80 443" becomes "80, 443".
elements() {
    echo "$@" | tr -s ' \n' '\n' | sed '/^$/d' | sort -u -n | paste -sd, - | sed 's/,/, /g'
}

ruleset() {
    cat <<RULES
# Made by ops/firewall/nftables.sh.
# The first line makes it exist, so that the second can empty it whether or not it did.
table inet gatehouse {}
delete table inet gatehouse

table inet gatehouse {
    # Before Docker's port forwarding, which an input chain never sees: a port published by mistake stays closed.
    chain before_forwarding {
        type filter hook prerouting priority raw; policy accept;
        iifname "lo" accept
        fib daddr type local tcp dport { $(elements "$SERVICE_PORTS") } drop
    }

    chain input {
        type filter hook input priority filter; policy drop;

        iifname "lo" accept
        ct state vmap { established : accept, related : accept, invalid : drop }

        # What a network cannot do without (RFC 4890, RFC 792): errors, path MTU, neighbours. Pings are answered, not floods.
        icmp type { destination-unreachable, time-exceeded, parameter-problem } accept
        icmp type echo-request limit rate 20/second accept
        icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept
        icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept
        icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } accept
        icmpv6 type echo-request limit rate 20/second accept
        ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept

        tcp dport { $(elements "$(ssh_ports)") } accept
        tcp dport { $(elements "$OPEN_TCP") } accept
        udp dport { $(elements "$OPEN_UDP") } accept

        limit rate 6/minute log prefix "gatehouse refused: "
    }
}
RULES
}

apply() {
    need_root
    ruleset | nft -c -f - || die "the kernel does not take the ruleset; nothing was changed"
    # One transaction: there is no moment without rules, nor one with half of them.
    ruleset | nft -f -
    echo "loaded: ssh ($(elements "$(ssh_ports)")), tcp $(elements "$OPEN_TCP"), udp $(elements "$OPEN_UDP") come in"
}

persist() {
    apply
    mkdir -p "$(dirname "$RULES_FILE")"
    ruleset >"$RULES_FILE.new"
    mv "$RULES_FILE.new" "$RULES_FILE"
    if ! grep -qsF "include \"$RULES_FILE\"" "$MAIN_FILE"; then
        [ -e "$MAIN_FILE" ] || printf '#!/usr/sbin/nft -f\n' >"$MAIN_FILE"
        printf '\ninclude "%s"\n' "$RULES_FILE" >>"$MAIN_FILE"
    fi
    if [ -d /run/systemd/system ]; then
        systemctl enable nftables.service
    fi
    echo "kept in $RULES_FILE, which $MAIN_FILE includes"
}

remove() {
    need_root
    printf 'table inet gatehouse {}\ndelete table inet gatehouse\n' | nft -f -
    rm -f "$RULES_FILE"
    if [ -e "$MAIN_FILE" ]; then
        sed -i "\|^include \"$RULES_FILE\"\$|d" "$MAIN_FILE"
    fi
    echo "removed"
}

check_ports
case "${1:-}" in
print) ruleset ;;
check)
    ruleset | nft -c -f -
    echo "the kernel takes it"
    ;;
apply) apply ;;
persist) persist ;;
remove) remove ;;
*) die "usage: nftables.sh print|check|apply|persist|remove" 2 ;;
esac
