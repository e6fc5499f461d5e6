"""What systemd keeps running, and what guards the machine; without systemd or root, it says what it cannot see."""

from collections.abc import Iterator

from ops.stack.doctor import Finding
from ops.stack.doctor.production.host import Host

_SERVICES = ("gatehouse-edge.service", "gatehouse-auth.service", "gatehouse-core.service")
_TIMERS = ("gatehouse-backup.timer", "gatehouse-logs.timer", "gatehouse-probe.timer")
_TABLE = "gatehouse"


def check(host: Host) -> Iterator[Finding]:
    if host.has_systemd:
        yield _units(host, "Units", ("gatehouse.target",), _SERVICES)
        yield _units(host, "Timers", _TIMERS, _TIMERS)
        yield _failed(host)
    else:
        yield Finding(
            "Units", "skip", "systemd does not run here", "let cron run `gatehouse backup` and `gatehouse probe`"
        )
    yield _time_service(host)
    yield _fail2ban(host)
    yield _firewall(host)


def _units(host: Host, name: str, enabled: tuple[str, ...], active: tuple[str, ...]) -> Finding:
    off = [unit for unit in enabled if host.run("systemctl", "is-enabled", unit)[1].splitlines()[:1] != ["enabled"]]
    down = [unit for unit in active if host.run("systemctl", "is-active", unit)[1].splitlines()[:1] != ["active"]]
    faults = [f"{unit} is not enabled" for unit in off] + [f"{unit} is not active" for unit in down]
    if faults:
        return Finding(name, "fail", "; ".join(faults), f"systemctl enable --now {' '.join(dict.fromkeys(off + down))}")
    return Finding(name, "ok", f"{', '.join(dict.fromkeys((*enabled, *active)))}")


def _failed(host: Host) -> Finding:
    _, said = host.run("systemctl", "list-units", "gatehouse*", "--state=failed", "--no-legend", "--plain")
    names = [line.split()[0] for line in said.splitlines() if line.strip()]
    if names:
        return Finding("Failed units", "fail", ", ".join(names), f"journalctl -u {names[0]} says why")
    return Finding("Failed units", "ok", "none")


def _time_service(host: Host) -> Finding:
    """Tokens and certificates depend on the time."""
    code, said = host.run("timedatectl", "show", "--property=NTPSynchronized", "--value")
    if code or said not in ("yes", "no"):
        return Finding("Time service", "skip", "timedatectl does not say whether the clock is synchronised")
    if said == "no":
        fix = "timedatectl set-ntp true (systemd-timesyncd or chrony)"
        return Finding("Time service", "warn", "the clock is not synchronised", fix)
    return Finding("Time service", "ok", "the clock is synchronised")


def _fail2ban(host: Host) -> Finding:
    code, said = host.run("fail2ban-client", "status")
    if code == -1:
        return Finding(
            "fail2ban", "warn", said, "apt-get install fail2ban; the jail and filter ship in `ops/fail2ban/`"
        )
    if code and not host.is_root:
        return Finding("fail2ban", "skip", "only root may ask it", "run this as root to see")
    if code or "gatehouse" not in said:
        return Finding(
            "fail2ban", "warn", "no gatehouse jail is active", "install the jail and filter of `ops/fail2ban/`"
        )
    return Finding("fail2ban", "ok", "the gatehouse jail is active")


def _firewall(host: Host) -> Finding:
    code, said = host.run("nft", "list", "tables")
    if code == 0 and f"table inet {_TABLE}" in said:
        return Finding("Firewall", "ok", "our nftables table is loaded")
    code_ufw, said_ufw = host.run("ufw", "status")
    if code_ufw == 0 and "Status: active" in said_ufw:
        return Finding("Firewall", "ok", "ufw is active")
    code_rules, rules = host.run("nft", "list", "ruleset")
    if code_rules == 0 and "hook input" in rules and "policy drop" in rules:
        return Finding("Firewall", "ok", "an input chain drops what it does not know")
    if code and not host.is_root:
        return Finding("Firewall", "skip", "only root may look at it", "run this as root to see")
    fix = "`ops/firewall/nftables.sh apply` or `ops/firewall/ufw.sh`, or your provider's"
    return Finding("Firewall", "warn", "none is seen on this machine", fix)
