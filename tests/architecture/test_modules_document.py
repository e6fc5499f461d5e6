"""docs/modules.md is built as it stands, migrated and called."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from common.permissions import ROLES
from common.worker import Worker
from core_service.app import create_app
from core_service.settings import CoreSettings
from ops.migrate import downgrade, migrate, shipped_locations
from tests.architecture.sources import ROOT

DOCUMENT = (ROOT / "docs" / "modules.md").read_text()
SERVICE_KEY = "core-key-of-this-test"
CHANGING = {"id", "user_id", "created_at", "timestamp", "requestId"}

Client = TestClient[web.Request, web.Application]


@dataclass(frozen=True)
class Call:
    """One curl of the document, and the answer it shows."""

    method: str
    target: str
    body: str | None
    answer: Any

    @classmethod
    def parse(cls, command: str, answer: str) -> "Call":
        words = iter(shlex.split(command)[1:])
        method, target, body = "", "", None
        for word in words:
            if word == "-X":
                method = next(words)
            elif word == "-d":
                body = next(words)
            elif word == "-H":
                next(words)
            elif word.startswith("$URL"):
                target = word.removeprefix("$URL")
        return cls(method or ("POST" if body else "GET"), target, body, json.loads(answer))


def files() -> dict[str, str]:
    """Path → content of every file that the document shows."""
    return dict(re.findall(r"^`(acorn/[\w/]+\.py)`:\n\n```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL))


def calls() -> list[Call]:
    console = re.findall(r"^```console\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    shown = re.findall(r"^\$ (curl .*)\n(\{.*\})$", "".join(console), re.MULTILINE)
    return [Call.parse(command, answer) for command, answer in shown]


def modules_setting() -> str:
    found = re.search(r"^MODULES=(\S+)$", DOCUMENT, re.MULTILINE)
    assert found
    return found[1]


def without_changing(value: Any) -> Any:
    """The same value with what differs from call to call replaced by its type."""
    if isinstance(value, dict):
        return {
            name: type(inner).__name__ if name in CHANGING else without_changing(inner) for name, inner in value.items()
        }
    return [without_changing(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The module as its author would have it, importable as `acorn.notes`."""
    for path, content in files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "acorn"]:
        del sys.modules[name]


@pytest.fixture
async def client(written: Path, empty_database_url: str, redis_url: str) -> AsyncIterator[Client]:
    migrate(empty_database_url, modules=modules_setting().split(","))
    settings = CoreSettings.model_validate(
        {
            "MODULES": modules_setting(),
            "DATABASE_URL": empty_database_url,
            "REDIS_URL": redis_url,
            "CORE_SERVICE_KEY": SERVICE_KEY,
            "AUTH_SERVICE_KEY": "auth-key-of-this-test",
            "AUTH_URL": "http://127.0.0.1:9",
        }
    )
    assert settings.faults() == []
    async with TestClient(TestServer(create_app(settings, runtime=Worker()))) as client:
        yield client


def as_edge_says(user: UUID, org: UUID, role: str = "user") -> dict[str, str]:
    return {
        "Authorization": f"ApiKey {SERVICE_KEY}",
        "Content-Type": "application/json",
        "X-Gatehouse-User": str(user),
        "X-Gatehouse-Org": str(org),
        "X-Gatehouse-Role": role,
        "X-Gatehouse-Permissions": " ".join(ROLES[role]),
    }


def test_document_shows_every_file_of_the_module_once() -> None:
    names = re.findall(r"^`(acorn/[\w/]+\.py)`:$", DOCUMENT, re.MULTILINE)
    parts = ("__init__", "handlers", "migrations/notes_0001", "models", "store")
    assert sorted(names) == sorted(files()) == [f"acorn/notes/{part}.py" for part in parts]


async def test_shown_calls_bring_the_shown_answers(client: Client) -> None:
    headers = as_edge_says(uuid4(), uuid4())
    assert len(calls()) == DOCUMENT.count("$ curl") == 4
    for call in calls():
        response = await client.request(call.method, call.target, data=call.body, headers=headers)
        answer = await response.json()
        assert without_changing(answer) == without_changing(call.answer), call
        assert response.status == answer.get("statusCode", 201 if call.method == "POST" else 200)


async def test_note_is_for_its_organization_and_its_writers(client: Client) -> None:
    user, org = uuid4(), uuid4()
    writer, viewer, stranger = (
        as_edge_says(user, org),
        as_edge_says(uuid4(), org, "viewer"),
        as_edge_says(user, uuid4()),
    )
    created = await client.post("/api/v1/notes", data='{"text": "ours"}', headers=writer)
    path = f"/api/v1/notes/{(await created.json())['data']['id']}"

    assert (await client.get(path, headers=viewer)).status == 200
    assert (await client.get(path, headers=stranger)).status == 404
    assert (await client.delete(path, headers=stranger)).status == 404
    assert (await client.delete(path, headers=viewer)).status == 403
    assert (await client.get(path, headers={"Authorization": f"ApiKey {SERVICE_KEY}"})).status == 401
    assert (await client.delete(path, headers=writer)).status == 204
    assert (await client.get(path, headers=writer)).status == 404


async def test_deleted_user_takes_their_notes_along(client: Client, empty_database_url: str) -> None:
    import acorn.notes as module  # type: ignore[import-not-found]

    leaving, staying, org = uuid4(), uuid4(), uuid4()
    for user in (leaving, staying):
        await client.post("/api/v1/notes", data='{"text": "mine"}', headers=as_edge_says(user, org))
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert [note["text"] for note in (await module.export(connection, leaving))["notes"]] == ["mine"]
        for _ in range(2):  # it may be called again for the same user
            async with connection.transaction():
                await module.purge(connection, leaving)
        assert await module.export(connection, leaving) == {"notes": []}
        assert len((await module.export(connection, staying))["notes"]) == 1
    finally:
        await connection.close()


def test_module_can_be_taken_back(written: Path, empty_database_url: str) -> None:
    names = modules_setting().split(",")
    locations = shipped_locations(names)
    assert "notes_0001" in migrate(empty_database_url, modules=names, locations=locations)
    assert downgrade(empty_database_url, "notes", locations=locations) == ["notes_0001"]
    assert migrate(empty_database_url, modules=names, locations=locations) == ["notes_0001"]


def test_shown_code_passes_the_linter(written: Path) -> None:
    # The packages are not in this directory, where ruff would look for them to tell ours from others'.
    ours = 'lint.isort.known-first-party=["acorn", "common"]'
    options = ["--config", str(ROOT / "pyproject.toml"), "--config", ours, "--no-cache", "acorn"]
    for check in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *check, *options]
        done = subprocess.run(command, cwd=written, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode()
