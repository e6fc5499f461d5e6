"""The compose stack as far as it can be seen without an engine; `make compose-check` runs it for real."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.docker.compose import ComposeError, find
from ops.docker.journey import Edge, JourneyFailed
from ops.secrets import NAMES
from tests.ops.answering import answering

ROOT = Path(__file__).resolve().parents[2]
OURS = ("edge", "auth", "core", "setup", "migrate")
CHECK_SECONDS = 60


def resolved(folder: Path, **environ: str) -> dict[str, Any]:
    """docker-compose.yml as Compose understands it, in a folder without .env; skips where Compose is not installed."""
    try:
        command = find()
    except ComposeError as error:
        pytest.skip(str(error))
    shutil.copy(ROOT / "docker-compose.yml", folder)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COMPOSE_", "EDGE_", "PUBLIC_"))}
    done = subprocess.run(
        [*command, "--project-name", "stack", "config", "--format", "json"],
        cwd=folder,
        env=kept | environ,
        capture_output=True,
        text=True,
        timeout=CHECK_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    model: dict[str, Any] = json.loads(done.stdout)
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return resolved(tmp_path_factory.mktemp("compose"))


@pytest.fixture(scope="module")
def services(model: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = model["services"]
    return found


def test_only_the_edge_is_published_and_only_to_this_machine(services: dict[str, dict[str, Any]]) -> None:
    ports = {name: service["ports"] for name, service in services.items() if service.get("ports")}
    [published] = ports.pop("edge")
    assert not ports
    assert (published["host_ip"], published["published"], published["target"]) == ("127.0.0.1", "8080", 8080)
    assert not any(service.get("network_mode") == "host" for service in services.values())


def test_the_published_address_can_be_chosen(tmp_path: Path) -> None:
    edge = resolved(tmp_path, EDGE_PORT="9090", EDGE_HOST="0.0.0.0")["services"]["edge"]
    assert (edge["ports"][0]["host_ip"], edge["ports"][0]["published"]) == ("0.0.0.0", "9090")
    # Inside the container nothing moves.
    assert (edge["environment"]["EDGE_HOST"], edge["environment"]["EDGE_PORT"]) == ("0.0.0.0", "8080")
    assert edge["environment"]["PUBLIC_URL"] == "http://localhost:9090"


def test_each_part_starts_when_what_it_needs_is_healthy(services: dict[str, dict[str, Any]]) -> None:
    waits = {
        name: {(needed, wait["condition"]) for needed, wait in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }
    done, healthy = "service_completed_successfully", "service_healthy"
    assert waits == {
        "setup": set(),
        "postgres": {("setup", done)},
        "valkey": {("setup", done)},
        "migrate": {("postgres", healthy)},
        "auth": {("migrate", done), ("valkey", healthy)},
        "core": {("migrate", done), ("valkey", healthy)},
        "edge": {("auth", healthy), ("core", healthy)},
    }


def test_the_servers_are_the_promised_versions_with_their_data_in_volumes(
    model: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    assert services["postgres"]["image"] == "postgres:18"
    assert services["valkey"]["image"] == "valkey/valkey:9"
    targets = {volume["target"]: volume for volume in services["postgres"]["volumes"]}
    assert targets["/var/lib/postgresql"]["type"] == "volume"
    mounted = {v["source"] for service in services.values() for v in service["volumes"] if v["type"] == "volume"}
    assert mounted == set(model["volumes"])


def test_the_source_is_mounted_read_only_and_nothing_else_of_this_machine(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        binds = [volume for volume in service["volumes"] if volume["type"] == "bind"]
        assert all(bind["read_only"] for bind in binds), name
        expected = {f"/app/{folder}" for folder in ("edge", "auth_service", "core_service", "common", "ops")}
        assert {bind["target"] for bind in binds} <= (expected if name in OURS else set()), name
        if name in {"edge", "auth", "core"}:
            assert {bind["target"] for bind in binds} == expected


def test_no_secret_stands_in_the_file(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for variable, value in (service.get("environment") or {}).items():
            assert variable not in NAMES, f"{name} has {variable}"
            assert "@" not in (value or ""), f"{name} has a URL with a password in {variable}"
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"].startswith("/run/gatehouse/")


def test_our_containers_can_do_nothing_special_and_have_time_to_finish(services: dict[str, dict[str, Any]]) -> None:
    for name in OURS:
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
        assert services[name]["init"] is True
        assert services[name]["stop_grace_period"] == "40s"
    assert not any(service.get("privileged") for service in services.values())
    for name in ("edge", "auth", "core", "postgres", "valkey"):
        assert services[name]["restart"] == "unless-stopped"


def test_the_services_reload_what_is_mounted(services: dict[str, dict[str, Any]]) -> None:
    for name in ("edge", "auth", "core"):
        assert services[name]["command"] == ["gatehouse", "serve", name, "--reload"]
    assert services["setup"]["build"]["target"] == "development"


def run_check(**environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ops.docker.check"],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=CHECK_SECONDS,
        check=False,
    )


def test_the_check_says_when_compose_is_missing(tmp_path: Path) -> None:
    done = run_check(PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("compose-check: Docker Compose is not installed")


def test_the_check_says_when_no_engine_is_reachable(tmp_path: Path) -> None:
    try:
        find()
    except ComposeError as error:
        pytest.skip(str(error))
    done = run_check(DOCKER_HOST=f"unix://{tmp_path}/nobody.sock")
    assert done.returncode == 1
    assert "no Docker engine is reachable" in done.stderr


def test_the_journey_names_the_step_that_was_answered_wrongly() -> None:
    with answering(503) as port:
        edge = Edge(port)
        with pytest.raises(JourneyFailed, match="GET /api/v1/expenses answered 503, not 200: words"):
            edge.call("GET", "/api/v1/expenses")
        with pytest.raises(JourneyFailed, match="not ready within 0 s"):
            edge.wait_ready(0)
