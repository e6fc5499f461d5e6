"""A host set up below a directory: every file as the units and services expect it, and nothing of it twice."""

import grp
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from common.settings import load
from edge.settings import EdgeSettings
from edge.table import read_table
from ops.cli.setup import command
from ops.release.home import DESCRIPTION
from ops.setup import host, place, settings_file
from ops.setup.answers import Answers
from ops.setup.machine import Machine
from ops.setup.units import shipped
from ops.stack.errors import StackError
from tests.tools import tool

OPTIONS = ("--domains", "api.example.com", "--email", "a@example.com", "--alert-hook", "https://alerts.example.com/x")
SERVERS = ("--database", "postgresql://u:geheim@db.example.com/gh", "--store", "rediss://:geheim@cache.example.com/0")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Stands for a machine whose first release is installed already: `ops.release` has tests of its own."""
    release = tmp_path / "opt/gatehouse/releases/1.0"
    release.mkdir(parents=True)
    (release / DESCRIPTION).write_text('{"digest": "", "commit": null, "installed_at": ""}')
    (tmp_path / "opt/gatehouse/current").symlink_to("releases/1.0")
    return tmp_path


def setup(root: Path, *words: str) -> Result:
    given = ["--host", "--root", str(root), "--yes", *words]
    return CliRunner().invoke(command, given, catch_exceptions=False, standalone_mode=False)


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every path with its mode and content, links by where they lead."""
    found = {}
    for path in sorted(root.rglob("*")):
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (stat.S_IMODE(path.lstat().st_mode), content)
    return found


def test_everything_is_where_the_units_look_for_it(root: Path) -> None:
    assert setup(root, *OPTIONS, *SERVERS).exception is None
    found = tree(root)
    for name, mode in {
        "etc/gatehouse": 0o750,
        "etc/gatehouse/gatehouse.env": 0o640,
        "etc/gatehouse/routes.toml": 0o640,
        "usr/local/bin/gatehouse": 0o755,
        "var/lib/gatehouse": 0o700,
        **{f"var/lib/gatehouse/{folder}": 0o700 for folder in ("secrets", "logs", "run", "certs", "backups")},
        **{f"var/lib/gatehouse/secrets/{name}": 0o600 for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL")},
        **{f"etc/systemd/system/{name}": 0o644 for name in shipped()},
    }.items():
        assert found[name][0] == mode, name
    assert found["etc/systemd/system/gatehouse-edge.service"][1].decode() == shipped()["gatehouse-edge.service"]


def test_production_starts_with_what_was_written(root: Path) -> None:
    setup(root, *OPTIONS, *SERVERS)
    environ = {"GATEHOUSE_VAR": str(root / "var/lib/gatehouse"), "EDGE_ROUTES": str(root / "etc/gatehouse/routes.toml")}
    settings = load(EdgeSettings, {**environ, "GATEHOUSE_ENV_FILE": str(root / "etc/gatehouse/gatehouse.env")})
    assert settings.is_production
    assert settings.hosts == ("api.example.com",)
    text = (root / "etc/gatehouse/routes.toml").read_text()
    (root / "etc/gatehouse/routes.toml").write_text(text.replace(str(place.CURRENT), str(host.SOURCE)))
    table = read_table(settings.edge_routes, settings.upstream_variables().get)
    assert {"auth", "core"} <= table.upstreams.keys()


def test_a_second_run_changes_nothing_and_a_third_without_options_neither(root: Path) -> None:
    setup(root, *OPTIONS, *SERVERS)
    before = tree(root)
    second = setup(root, *OPTIONS, *SERVERS)
    assert tree(root) == before
    assert "✓" not in second.output
    assert "✓" not in setup(root).output
    assert tree(root) == before


def test_what_was_written_by_hand_stays(root: Path) -> None:
    setup(root, *OPTIONS, *SERVERS)
    file = root / "etc/gatehouse/gatehouse.env"
    file.write_text(file.read_text() + "# mine\nSENTRY_DSN=https://k@s.example.com/1\n")
    (root / "etc/gatehouse/routes.toml").write_text("# mine\n")
    setup(root, "--workers", "7")
    assert "# mine\nSENTRY_DSN=https://k@s.example.com/1\n" in file.read_text()
    assert settings_file.values(file.read_text())["EDGE_WORKERS"] == "7"
    assert (root / "etc/gatehouse/routes.toml").read_text() == "# mine\n"


def test_what_was_tuned_by_hand_stays_until_an_answer_says_otherwise(root: Path) -> None:
    setup(root, *OPTIONS, *SERVERS, "--workers", "2")
    file = root / "etc/gatehouse/gatehouse.env"
    tuned = {"AUTH_WORKERS": "1", "PUBLIC_URL": "https://other.example.com", "LOG_TO": "stdout", "EDGE_ROUTES": "/mine"}
    file.write_text(file.read_text() + "".join(f"{name}={value}\n" for name, value in tuned.items()))
    before = tree(root)
    setup(root, *OPTIONS, *SERVERS)
    assert tree(root) == before
    setup(root, "--workers", "3")
    found = settings_file.values(file.read_text())
    assert {name: found[name] for name in tuned} == {**tuned, "AUTH_WORKERS": "3"}
    file.write_text(file.read_text() + "ENV=development\n")
    setup(root)
    assert settings_file.values(file.read_text())["ENV"] == "production"


def test_a_set_up_that_broke_off_before_its_front_goes_on_with_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caddy = root / "usr/bin/caddy"
    caddy.parent.mkdir(parents=True)
    caddy.touch()
    with monkeypatch.context() as broken:
        broken.setattr(host, "install_units", lambda *_: (_ for _ in ()).throw(StackError("no room left")))
        with pytest.raises(StackError, match="no room left"):
            setup(root, *OPTIONS, *SERVERS)
    assert not (root / "etc/caddy/Caddyfile").exists()
    assert "front: caddy" in setup(root, *OPTIONS, *SERVERS).output
    assert (root / "etc/caddy/Caddyfile").exists()


def test_a_front_that_was_declined_is_not_offered_by_a_second_run(root: Path) -> None:
    setup(root, *OPTIONS, *SERVERS)
    caddy = root / "usr/bin/caddy"
    caddy.parent.mkdir(parents=True)
    caddy.touch()
    assert "front: none" in setup(root).output


def test_no_answer_of_an_earlier_run_shows_its_password(tmp_path: Path) -> None:
    words = ["--directory", str(tmp_path), *OPTIONS, *SERVERS]
    hook = "alerts.example.com/x"
    assert hook not in CliRunner().invoke(command, [*words, "--yes"], catch_exceptions=False).output
    asked = CliRunner().invoke(command, ["--directory", str(tmp_path)], input="\n" * 10, catch_exceptions=False)
    assert asked.exit_code == 0, asked.output
    assert "[postgresql://db.example.com]" in asked.output
    assert not [text for text in ("geheim", hook) if text in asked.output]


def test_only_showing_changes_nothing_and_shows_no_password(root: Path) -> None:
    before = tree(root)
    shown = setup(root, *OPTIONS, *SERVERS, "--dry-run")
    assert "SECRET_KEY made" in shown.output
    assert "Nothing was changed" in shown.output
    assert "geheim" not in shown.output
    assert tree(root) == before


def test_another_port_is_told_to_the_socket_too(root: Path) -> None:
    setup(root, *OPTIONS, *SERVERS, "--port", "9080")
    drop_in = (root / "etc/systemd/system/gatehouse-edge.socket.d/10-port.conf").read_text()
    assert "ListenStream=\nListenStream=127.0.0.1:9080\n" in drop_in
    setup(root, "--port", "8080")
    drop_in = (root / "etc/systemd/system/gatehouse-edge.socket.d/10-port.conf").read_text()
    assert "ListenStream=127.0.0.1:8080\n" in drop_in


def test_the_backups_unit_may_write_where_backups_go(root: Path) -> None:
    setup(root, *OPTIONS, *SERVERS)
    drop_in = root / "etc/systemd/system/gatehouse-backup.service.d/20-directory.conf"
    file = root / "etc/gatehouse/gatehouse.env"
    file.write_text(file.read_text() + f"BACKUP_DIRECTORY={place.VAR}/backups/here\n")
    setup(root)
    assert not drop_in.exists()
    file.write_text(file.read_text() + "BACKUP_DIRECTORY='/mnt/100% ours'\n")
    setup(root)
    assert 'ReadWritePaths="-/mnt/100%% ours"\n' in drop_in.read_text()


def test_every_fault_is_said_before_anything_is_changed(root: Path) -> None:
    before = tree(root)
    refused = CliRunner().invoke(
        command,
        [
            "--host",
            "--root",
            str(root),
            "--yes",
            "--domains",
            "x y",
            "--workers",
            "0",
            "--front",
            "nginx",
            "--store",
            "local",
        ],
    )
    said = str(refused.exception).splitlines()
    assert [line.partition(":")[0] for line in said] == ["--domains", "--workers", "--email", "--front", "--store"]
    assert tree(root) == before


def test_a_python_where_services_may_not_look_is_refused() -> None:
    assert "services may not look" in (host.python_fault(Path("/home/me/.pyenv/versions/3.12")) or "")
    assert host.python_fault(Path("/usr")) is None


def test_a_hook_where_services_may_not_look_is_refused(root: Path) -> None:
    answers = Answers(alert_hook="/root/hook", database="managed", store="redis://x")
    assert host.faults(Machine(root), answers) == [
        "--alert-hook: services may not look into /root/hook: put it into /usr/local"
    ]


def test_a_service_user_who_may_become_root_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sudo = grp.struct_group(("sudo", "x", 27, ["somebody", "gatehouse"]))
    monkeypatch.setattr(grp, "getgrall", lambda: [sudo])
    assert "the user gatehouse is in sudo" in "\n".join(host.faults(Machine(), Answers(store="redis://x")))


def test_the_command_of_the_host_is_a_good_shell_script(root: Path) -> None:
    setup(root, *OPTIONS, *SERVERS)
    wrapper = root / "usr/local/bin/gatehouse"
    subprocess.run([tool("shellcheck"), wrapper], check=True, timeout=30)
    program = root / "opt/gatehouse/releases/1.0/.venv/bin/gatehouse"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$GATEHOUSE_VAR $GATEHOUSE_ENV_FILE $*"\n')
    program.chmod(0o755)
    here = wrapper.with_name("here")
    here.write_text(wrapper.read_text().replace(str(place.CURRENT), str(root / "opt/gatehouse/current")))
    done = subprocess.run(["sh", here, "doctor", "a b"], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == f"{place.VAR} {place.ENV_FILE} doctor a b\n"


def test_the_front_is_made_and_something_of_yours_is_not_replaced(root: Path) -> None:
    for program in ("usr/bin/caddy", "usr/sbin/nginx"):
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        (root / program).touch()
    setup(root, *OPTIONS, *SERVERS, "--front", "nginx")
    site = root / "etc/nginx/conf.d/gatehouse.conf"
    assert "ssl_certificate" not in site.read_text()  # until certbot has been there
    certificate = root / "etc/letsencrypt/live/api.example.com/fullchain.pem"
    certificate.parent.mkdir(parents=True)
    certificate.touch()
    setup(root)  # nginx stays the front
    assert "ssl_certificate /etc/letsencrypt/live/api.example.com/fullchain.pem" in site.read_text()

    caddyfile = root / "etc/caddy/Caddyfile"
    caddyfile.parent.mkdir(parents=True)
    caddyfile.write_text("mine.example.com {\n}\n")
    refused = setup_refused(root, *OPTIONS, "--front", "caddy")
    assert "serves something of yours" in refused
    assert caddyfile.read_text() == "mine.example.com {\n}\n"


def setup_refused(root: Path, *words: str) -> str:
    return str(CliRunner().invoke(command, ["--host", "--root", str(root), "--yes", *words]).exception)


def test_questions_are_asked_again_until_the_answer_will_do(tmp_path: Path) -> None:
    answers = ["https://no", "api.example.com", "a@example.com", "", "", "3", "", "", "y"]
    done = CliRunner().invoke(command, ["--directory", str(tmp_path)], input="\n".join(answers) + "\n")
    assert done.exit_code == 0, done.output
    assert "no host name" in done.output
    found = settings_file.values((tmp_path / ".env").read_text())
    assert (found["DOMAINS"], found["EDGE_WORKERS"], found["EMBEDDED"]) == ("api.example.com", "3", "true")


def test_a_directory_is_accepted_by_production(tmp_path: Path) -> None:
    words = ["--directory", str(tmp_path), "--yes", *OPTIONS, *SERVERS]
    assert CliRunner().invoke(command, words, catch_exceptions=False).exit_code == 0
    environ = {"GATEHOUSE_ENV_FILE": str(tmp_path / ".env"), "PATH": os.environ["PATH"]}
    for module in ("edge", "auth_service", "core_service"):
        done = subprocess.run(
            [sys.executable, "-m", module, "check"], env=environ, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
    assert CliRunner().invoke(command, ["--directory", str(tmp_path), "--yes"]).output.count("✓") == 0


def test_usage_is_said_where_neither_or_both_places_are_named(tmp_path: Path) -> None:
    assert CliRunner().invoke(command, ["--yes"]).exit_code == 2
    assert CliRunner().invoke(command, ["--yes", "--host", "--directory", str(tmp_path)]).exit_code == 2


def test_a_secret_is_printed_for_whoever_wants_one() -> None:
    first, second = (CliRunner().invoke(command, ["secret"]).output.strip() for _ in range(2))
    assert len(first) == 64
    assert first != second
