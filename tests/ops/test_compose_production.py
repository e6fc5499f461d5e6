"""docker-compose.prod.yml as far as it can be seen without an engine; `make prod-check` runs it for real."""

import json
import os
import re
import shutil
import ssl
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ops.docker.certificate import self_signed
from ops.docker.compose import ComposeError, find
from ops.docker.setup import write_front
from ops.secrets import NAMES
from tests.tools import tool

ROOT = Path(__file__).resolve().parents[2]
OURS = ("edge", "auth", "core", "setup", "migrate", "backup")
SERVING = ("edge", "auth", "core")
CHECK_SECONDS = 60
Services = dict[str, dict[str, Any]]


def compose(folder: Path, *files: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Compose's view of the files, in a folder without .env; skips where Compose is not installed."""
    try:
        command = find()
    except ComposeError as error:
        pytest.skip(str(error))
    shutil.copy(ROOT / "docker-compose.prod.yml", folder)
    named = [word for file in ("docker-compose.prod.yml", *files) for word in ("--file", str(folder / file))]
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    words = [*command, "--project-name", "stack", "--project-directory", str(folder), *named]
    return subprocess.run(
        [*words, "--profile", "*", "config", "--format", "json"],
        cwd=folder, env=kept | environ, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False,
    )  # fmt: skip


def resolved(folder: Path, *files: str, **environ: str) -> dict[str, Any]:
    done = compose(folder, *files, **{"DOMAINS": "api.example.com", "COMPOSE_PROFILES": "nginx", **environ})
    assert done.returncode == 0, done.stderr
    model: dict[str, Any] = json.loads(done.stdout)
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return resolved(tmp_path_factory.mktemp("production"))


@pytest.fixture(scope="module")
def services(model: dict[str, Any]) -> Services:
    found: Services = model["services"]
    return found


@pytest.mark.parametrize("missing", ["DOMAINS", "COMPOSE_PROFILES"])
def test_what_must_be_decided_is_asked_for(tmp_path: Path, missing: str) -> None:
    given = {"DOMAINS": "api.example.com", "COMPOSE_PROFILES": "caddy"}
    del given[missing]
    done = compose(tmp_path, **given)
    assert done.returncode != 0
    assert f"required variable {missing} is missing a value: set it in .env to" in done.stderr


def test_only_what_ends_tls_is_published_and_only_on_80_and_443(services: Services) -> None:
    ports = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    assert set(ports) == {"nginx", "caddy"}
    for name, published in ports.items():
        assert {port["published"] for port in published} == {"80", "443"}, name
    assert not any(service.get("network_mode") == "host" for service in services.values())


def test_the_servers_are_in_a_network_without_a_way_out(model: dict[str, Any], services: Services) -> None:
    assert model["networks"]["data"]["internal"] is True
    for name in ("postgres", "valkey"):
        assert set(services[name]["networks"]) == {"data"}
    # What faces the internet meets the edge and nothing behind it.
    assert {name for name, service in services.items() if "front" in service.get("networks", {})} == {
        "nginx",
        "caddy",
        "edge",
    }
    assert set(services["nginx"]["networks"]) == set(services["caddy"]["networks"]) == {"front"}


def test_only_the_fronts_own_address_is_believed(services: Services) -> None:
    address = services["nginx"]["networks"]["front"]["ipv4_address"]
    assert services["edge"]["environment"]["TRUSTED_PROXIES"] == f"{address}/32"
    assert services["caddy"]["networks"]["front"]["ipv4_address"] == address


def test_every_container_is_confined(services: Services) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        assert service["logging"]["options"], name
    for name in (*OURS, "nginx", "caddy"):
        assert services[name]["user"] == "1000:1000", name
        assert int(services[name]["mem_limit"]) == 512 * 1024 * 1024
    assert not any(services[name].get("cap_add") for name in (*OURS, "nginx"))


def test_nobody_mounts_the_engines_socket(services: Services) -> None:
    text = (ROOT / "docker-compose.prod.yml").read_text()
    assert "docker.sock" not in text
    for service in services.values():
        binds = [volume for volume in service.get("volumes", []) if volume["type"] == "bind"]
        assert all(bind["target"] == "/etc/gatehouse-certificates" and bind["read_only"] for bind in binds)


def test_no_secret_stands_in_the_file_and_services_only_read_them(services: Services) -> None:
    for name, service in services.items():
        for variable, value in (service.get("environment") or {}).items():
            assert variable not in NAMES, f"{name} has {variable}"
            assert "@" not in (value or ""), f"{name} has a URL with a password in {variable}"
    for name in SERVING:
        mounted = {volume["target"]: volume for volume in services[name]["volumes"]}
        assert mounted["/var/lib/gatehouse/secrets"]["read_only"] is True
    for name in ("postgres", "valkey", "nginx", "caddy"):
        assert not any(volume["source"] == "secrets" for volume in services[name]["volumes"])


def test_each_part_starts_when_what_it_needs_is_there(services: Services) -> None:
    waits = {
        name: {(needed, wait["condition"]) for needed, wait in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }
    done, healthy, started = "service_completed_successfully", "service_healthy", "service_started"
    assert waits == {
        "setup": set(),
        "postgres": {("setup", done)},
        "valkey": {("setup", done)},
        "migrate": {("postgres", healthy)},
        "auth": {("migrate", done), ("valkey", healthy)},
        "core": {("migrate", done), ("valkey", healthy)},
        "edge": {("auth", started), ("core", started)},
        "nginx": {("edge", started)},
        "caddy": {("edge", started)},
        "backup": {("postgres", healthy)},
    }


def test_health_is_asked_for_as_often_as_promised_and_what_ends_comes_back(services: Services) -> None:
    for name in (*SERVING, "nginx", "caddy"):
        check = services[name]["healthcheck"]
        assert (check["interval"], check["timeout"], check["start_period"], check["retries"]) == ("30s", "10s", "5s", 3)
        assert services[name]["restart"] == "unless-stopped"
    for name in SERVING:
        assert services[name]["environment"]["HEALTHCHECK_URL"].endswith("/health/ready")
        assert services[name]["stop_grace_period"] == "40s"
    for name in ("postgres", "valkey"):
        assert services[name]["restart"] == "unless-stopped"


def test_the_image_has_the_projects_version(services: Services) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {services[name]["image"] for name in OURS} == {f"gatehouse:{version}"}
    assert services["setup"]["build"]["target"] == "runtime"
    # Every other image names a version too.
    assert all(re.search(r":\d", service["image"]) for service in services.values())


def test_a_database_elsewhere_takes_the_place_of_the_stacks_own(tmp_path: Path) -> None:
    found = resolved(tmp_path, "ops/docker/managed-database.yml")["services"]
    assert "postgres" not in found
    for name in ("setup", "migrate", "auth", "core", "backup"):
        assert found[name]["environment"]["DATABASE_URL_FILE"] == "/run/secrets/database_url"
        assert [secret["source"] for secret in found[name]["secrets"]] == ["database_url"]
        assert "postgres" not in found[name].get("depends_on", {})


# What the one-shot writes for the front


def test_the_one_shot_writes_what_nginx_takes(tmp_path: Path) -> None:
    nginx = tool("nginx")
    self_signed(tmp_path, "api.example.com")
    environ = {"DOMAINS": "api.example.com", "COMPOSE_PROFILES": "nginx", "GATEHOUSE_VAR": str(tmp_path)}
    write_front(environ, tmp_path)
    for name in ("site.conf", "nginx.conf"):
        text = (tmp_path / name).read_text()
        # Only names and places differ on the machine of the tests.
        text = text.replace("/etc/gatehouse-certificates", str(tmp_path)).replace("edge:8080", "127.0.0.1:8080")
        text = re.sub(r"listen (80|443)", r"listen 127.0.0.1:2\1", text).replace("/tmp/nginx.pid", f"{tmp_path}/pid")
        (tmp_path / name).write_text(text.replace("/dev/stdout", f"{tmp_path}/log"))
    checked = subprocess.run(
        [nginx, "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, timeout=30, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_the_one_shot_writes_what_caddy_takes(tmp_path: Path) -> None:
    caddy = tool("caddy")
    environ = {
        "DOMAINS": "api.example.com,www.example.org",
        "COMPOSE_PROFILES": "caddy",
        "LETSENCRYPT_EMAIL": "ops@example.com",
        "GATEHOUSE_VAR": str(tmp_path),
    }
    write_front(environ, tmp_path)
    config = tmp_path / "Caddyfile"
    checked = subprocess.run(
        [caddy, "validate", "--config", config, "--adapter", "caddyfile"],
        capture_output=True, text=True, timeout=30, check=False, env={"HOME": str(tmp_path)},
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    text = config.read_text()
    assert "https://www.example.org {" in text
    assert "email ops@example.com" in text
    assert "fullchain.pem" not in text


def test_the_one_shot_wants_to_know_what_ends_tls(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="COMPOSE_PROFILES: must name what ends TLS"):
        write_front(
            {"DOMAINS": "api.example.com", "COMPOSE_PROFILES": "tools", "GATEHOUSE_VAR": str(tmp_path)}, tmp_path
        )


def test_the_checks_certificate_is_one_that_clients_accept(tmp_path: Path) -> None:
    chain = self_signed(tmp_path, "api.gatehouse.test")
    context = ssl.create_default_context(cafile=chain)
    [certificate] = context.get_ca_certs()
    assert ("DNS", "api.gatehouse.test") in certificate["subjectAltName"]
    context.load_cert_chain(chain, chain.with_name("privkey.pem"))
