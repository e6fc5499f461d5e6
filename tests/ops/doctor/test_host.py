"""Rights, policy, backups, logs, units and resources: each fault is named, with what to do."""

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.stack.doctor import Finding
from ops.stack.doctor import production as all_checks
from ops.stack.doctor.production import backups, exposure, logs, policy, resources, rights, units
from ops.stack.doctor.production.host import Host, run
from tests.ops.site import Site, serving

GOOD = {
    "DOMAINS": "api.example.com,*.example.com",
    "PUBLIC_URL": "https://api.example.com",
    "TRUSTED_PROXIES": "127.0.0.1/32",
    "ALERT_HOOK": "https://hooks.example.com/x",
    "LETSENCRYPT_EMAIL": "ops@example.com",
    "ENV": "production",
    "EDGE_WORKERS": "2",
}


def host(tmp_path: Path, *, also: dict[str, Any] | None = None, **settings: str) -> Host:
    environ = {"GATEHOUSE_ENV_FILE": str(tmp_path / "env"), "GATEHOUSE_VAR": str(tmp_path / "var"), **GOOD, **settings}
    made = Host.here(environ)
    fields = {name: getattr(made, name) for name in ("configuration", "env")}
    return Host(**fields, **(also or {}))


def found(check: Callable[[Host], Iterable[Finding]], host: Host) -> dict[str, Finding]:
    return {finding.name: finding for finding in check(host)}


# Settings


def test_an_edge_that_ends_tls_itself_needs_no_trusted_proxy(tmp_path: Path) -> None:
    settings = {"TRUSTED_PROXIES": "", "ACME": "true", "REDIS_URL": "redis://127.0.0.1:9", "EMBEDDED": "true"}
    assert found(policy.check, host(tmp_path, **settings))["Proxies"].state == "ok"


def test_good_policy_passes(tmp_path: Path) -> None:
    findings = found(policy.check, host(tmp_path))
    findings.pop("Workers")  # of this machine's cores
    assert {name: finding.state for name, finding in findings.items()} == dict.fromkeys(findings, "ok")


@pytest.mark.parametrize(
    ("settings", "name", "state"),
    [
        ({"ENV": "development"}, "ENV", "fail"),
        ({"ENV": ""}, "ENV", "fail"),
        ({"PUBLIC_URL": "http://api.example.com"}, "PUBLIC_URL", "fail"),
        ({"PUBLIC_URL": "https://other.org"}, "PUBLIC_URL", "fail"),
        ({"PUBLIC_URL": ""}, "PUBLIC_URL", "warn"),
        ({"TRUSTED_PROXIES": ""}, "Proxies", "fail"),
        ({"TRUSTED_PROXIES": "0.0.0.0/0"}, "Proxies", "fail"),
        ({"ALERT_HOOK": ""}, "Alerts", "fail"),
        ({"ALERT_HOOK": "/nonexistent/hook"}, "Alerts", "fail"),
        ({"ALERT_HOOK": "/"}, "Alerts", "fail"),
        ({"LETSENCRYPT_EMAIL": ""}, "ACME e-mail", "warn"),
        ({"LETSENCRYPT_EMAIL": "nobody"}, "ACME e-mail", "fail"),
        ({"LOG_LEVEL": "DEBUG"}, "Log level", "warn"),
    ],
)
def test_each_bad_policy_is_named(tmp_path: Path, settings: dict[str, str], name: str, state: str) -> None:
    finding = found(policy.check, host(tmp_path, **settings))[name]
    assert (finding.state, bool(finding.fix)) == (state, True)


@pytest.mark.parametrize(
    ("edge", "cores", "state"), [("1", 1, "ok"), ("1", 4, "warn"), ("4", 4, "ok"), ("8", 4, "warn")]
)
def test_workers_are_held_against_cores(tmp_path: Path, edge: str, cores: int, state: str) -> None:
    assert policy.workers(host(tmp_path, EDGE_WORKERS=edge), cores).state == state


# Secrets and rights


def settings_file(tmp_path: Path, text: str, mode: int = 0o640) -> Finding:
    (tmp_path / "env").write_text(text)
    (tmp_path / "env").chmod(mode)
    return found(rights.check, host(tmp_path))["Settings file"]


def test_secrets_in_the_settings_file_fail(tmp_path: Path) -> None:
    finding = settings_file(tmp_path, "SECRET_KEY=very-secret-value\nLOG_LEVEL=INFO\nBACKUP_PASSPHRASE=other\n")
    assert finding.state == "fail"
    assert "SECRET_KEY, BACKUP_PASSPHRASE" in finding.detail
    assert "very-secret-value" not in f"{finding}"


def test_a_settings_file_open_to_everyone_fails(tmp_path: Path) -> None:
    assert settings_file(tmp_path, "LOG_LEVEL=INFO\n", 0o644).detail.endswith("is open to everyone")
    assert settings_file(tmp_path, "LOG_LEVEL=INFO\n").state == "ok"


def test_a_password_in_a_url_of_the_settings_file_warns(tmp_path: Path) -> None:
    assert settings_file(tmp_path, "DATABASE_URL=postgresql://u:secret@db/x\n").state == "warn"


def test_tracked_state_is_found(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    (tmp_path / "var" / "secrets").mkdir(parents=True)
    (tmp_path / "var" / "secrets" / "SECRET_KEY").write_text("x")
    assert found(rights.check, host(tmp_path))["Git"].state == "ok"
    git("init")
    assert found(rights.check, host(tmp_path))["Git"].state == "ok"
    git("add", "var")
    finding = found(rights.check, host(tmp_path))["Git"]
    assert (finding.state, str(tmp_path / "var") in finding.detail) == ("fail", True)


def test_an_open_private_key_fails(tmp_path: Path) -> None:
    certs = tmp_path / "var" / "certs"
    certs.mkdir(parents=True)
    (certs / "a.key").write_text("x")
    (certs / "a.key").chmod(0o644)
    assert found(rights.check, host(tmp_path))["Private keys"].state == "fail"
    (certs / "a.key").chmod(0o600)
    assert found(rights.check, host(tmp_path))["Private keys"].state == "ok"


def test_root_is_no_account_for_services() -> None:
    assert "is root" in rights.account("root").detail
    assert rights.account("no-such-user").state == "skip"
    assert rights.account("nobody").state == "ok"


# What can be reached


def test_a_service_on_an_outside_address_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as server:
        port = server.getsockname()[1]
        outside = host(tmp_path, also={"own": frozenset(["127.0.0.2"])}, CORE_PORT=str(port))
        finding = found(exposure.check, outside)["Service ports"]
    assert finding.state == "fail"
    assert f"core on 127.0.0.2:{port}" in finding.detail


def test_ports_that_nothing_listens_on_are_not_called_closed(tmp_path: Path) -> None:
    elsewhere = {"DATABASE_URL": "postgresql://u@db.example.com/x", "REDIS_URL": "redis://cache.example.com/0"}
    ports = dict.fromkeys(("EDGE_PORT", "AUTH_PORT", "CORE_PORT"), "9")
    for own in (frozenset(["127.0.0.2"]), frozenset[str]()):
        nothing = host(tmp_path, also={"own": own}, **elsewhere, **ports)
        assert found(exposure.check, nothing)["Service ports"].state == "skip"


def test_servers_of_others_are_not_ours_to_judge(tmp_path: Path) -> None:
    named = exposure.ports(host(tmp_path, DATABASE_URL="postgresql://u@db.example.com/x", EDGE_HOST="0.0.0.0"))
    assert sorted(named) == ["Redis", "auth", "core"]


def test_a_service_that_answers_without_its_key_fails(tmp_path: Path) -> None:
    with serving(Site()) as site:
        findings = found(exposure.check, host(tmp_path, AUTH_URL=site.url, EDGE_PORT="9"))
    assert findings["Key of auth"].detail == "a call without the service key is 200"
    assert findings["Key of auth"].state == "fail"


def test_an_edge_that_serves_anybody_anything_fails(tmp_path: Path) -> None:
    with serving(Site()) as site:
        site.headers = {"Access-Control-Allow-Origin": "*"}
        findings = found(exposure.check, host(tmp_path, EDGE_PORT=str(site.port), AUTH_PORT="9", CORE_PORT="9"))
    states = {name: findings[name].state for name in ("Unknown host", "Rate limits", "CORS", "Hostile paths")}
    assert states == dict.fromkeys(states, "fail")
    assert findings["Readiness"].state == "ok"


# Backups


def iso(**ago: float) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).isoformat(timespec="seconds").replace("+00:00", "Z")


def record(tmp_path: Path, **content: Any) -> Host:
    run = tmp_path / "var" / "run"
    run.mkdir(parents=True, exist_ok=True)
    folder = tmp_path / "backups"
    folder.mkdir(exist_ok=True)
    archive = folder / "one.tar"
    archive.touch()
    for name in ("last_good", "last_failure", "last_drill"):
        content.setdefault(name, None)
    if content["last_good"]:
        content["last_good"] = {"name": archive.name, "path": str(archive), "time": content["last_good"]}
    (run / "backups.json").write_text(json.dumps({"directory": str(folder), **content}))
    return host(tmp_path)


def test_a_fresh_backup_that_was_restored_passes(tmp_path: Path) -> None:
    drill = {"time": iso(days=30), "ok": True, "error": None}
    findings = found(backups.check, record(tmp_path, last_good=iso(hours=25), last_drill=drill))
    assert (findings["Backup"].state, findings["Restore drill"].state) == ("ok", "ok")
    assert findings["Backup secrecy"].state == findings["Backup place"].state == "warn"


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ({}, "Backup", "there is none"),
        ({"last_good": iso(hours=27)}, "Backup", "27 h old"),
        (
            {"last_good": iso(hours=3), "last_failure": {"time": iso(hours=1), "error": "disk full"}},
            "Backup",
            "the last one failed: disk full",
        ),
        ({}, "Restore drill", "never restored"),
        ({"last_drill": {"time": iso(days=36), "ok": True, "error": None}}, "Restore drill", "36 days old"),
        ({"last_drill": {"time": iso(days=1), "ok": False, "error": "no key"}}, "Restore drill", "failed: no key"),
    ],
)
def test_each_fault_of_backups_is_named(tmp_path: Path, content: dict[str, Any], name: str, said: str) -> None:
    finding = found(backups.check, record(tmp_path, **content))[name]
    assert (finding.state, said in finding.detail) == ("fail", True)


# Logs


def test_logs_over_their_policy_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "logs"
    folder.mkdir(parents=True)
    for name in ("edge.log", "edge.log.1.gz", "core.log"):
        (folder / name).write_bytes(b"x" * 3000)
        (folder / name).chmod(0o600)
    good = found(logs.check, host(tmp_path, LOG_SIZE_MAX="2000"))
    assert {finding.state for finding in good.values()} == {"ok"}
    os.utime(folder / "edge.log.1.gz", (0, 0))
    (folder / "core.log").chmod(0o644)
    bad = found(logs.check, host(tmp_path, LOG_SIZE_MAX="1000"))
    assert bad["Log rotation"].state == bad["Log access"].state == "fail"
    assert "edge.log is far over" in bad["Log rotation"].detail
    assert "edge.log.1.gz is older than 30 days" in bad["Log rotation"].detail


# systemd and the machine's guards


class Programs:
    """What `systemctl` and the like say, by their words."""

    def __init__(self, **said: str) -> None:
        self.said = said

    def __call__(self, *words: str) -> tuple[int, str]:
        key = "_".join(words[:2]).replace("-", "_").replace(".", "_")
        return (0, self.said[key]) if key in self.said else (-1, f"{words[0]} is not installed")


def test_units_that_are_off_are_named(tmp_path: Path) -> None:
    programs = Programs(
        systemctl_is_enabled="disabled",
        systemctl_is_active="inactive",
        systemctl_list_units="gatehouse-backup.service loaded failed failed Backup",
        timedatectl_show="no",
        fail2ban_client_status="Jail list: sshd",
        nft_list="table inet filter",
    )
    findings = found(units.check, host(tmp_path, also={"run": programs, "systemd": tmp_path, "is_root": True}))
    assert findings["Units"].state == findings["Timers"].state == findings["Failed units"].state == "fail"
    assert "gatehouse-backup.timer is not enabled" in findings["Timers"].detail
    assert findings["Failed units"].detail == "gatehouse-backup.service"
    assert {findings[name].state for name in ("Time service", "fail2ban", "Firewall")} == {"warn"}


def test_units_that_are_on_pass(tmp_path: Path) -> None:
    programs = Programs(
        systemctl_is_enabled="enabled",
        systemctl_is_active="active",
        systemctl_list_units="",
        timedatectl_show="yes",
        fail2ban_client_status="Jail list: gatehouse-auth, sshd",
        nft_list="table inet filter\ntable inet gatehouse",
    )
    findings = found(units.check, host(tmp_path, also={"run": programs, "systemd": tmp_path, "is_root": True}))
    assert {finding.state for finding in findings.values()} == {"ok"}


def test_what_only_root_can_see_is_no_warning(tmp_path: Path) -> None:
    def refused(*_: str) -> tuple[int, str]:
        return 1, "Operation not permitted"

    findings = found(units.check, host(tmp_path, also={"run": refused, "systemd": tmp_path / "no", "is_root": False}))
    assert {finding.state for finding in findings.values()} == {"skip"}


def test_programs_that_are_missing_or_fail_are_told() -> None:
    assert run("no-such-program-here") == (-1, "no-such-program-here is not installed")
    assert run("false")[0] == 1


@pytest.mark.parametrize(
    ("total", "available", "state"), [(2, 1.5, "ok"), (2, 0.3, "warn"), (2, 0.1, "fail"), (0.9, 0.8, "warn")]
)
def test_memory_is_held_against_the_least_machine(total: float, available: float, state: str) -> None:
    assert resources.memory(int(total * (1 << 30)), int(available * (1 << 30))).state == state


def test_the_limit_of_open_files_is_read_from_proc() -> None:
    text = "Limit       Soft Limit  Hard Limit  Units\nMax open files    {}        4096        files\n"
    assert resources.files_limit(text.format(1024)) == 1024
    assert resources.files_limit(text.format("unlimited")) == -1


def test_a_check_that_breaks_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Host) -> Iterable[Finding]:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(all_checks, "_groups", lambda: {"One": (broken, policy.check)})
    findings = list(all_checks.examine(host(tmp_path)))
    assert findings[0][1].detail == "the check broke: ZeroDivisionError: oh"
    assert len(findings) > 5
