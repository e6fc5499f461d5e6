"""Data of every earlier version serves on: restored, migrated with today's code, used as its person used it."""

import base64
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest

from ops.migrate import migrate
from tests.ops.stacks import Stack

VERSIONS = sorted(folder for folder in Path(__file__).parent.iterdir() if (folder / "database.sql").exists())

# Sessions live 30 days at most; this one is as old as the data, so its clock is put forward.
LATER = "UPDATE auth.sessions SET expires_at = now() + interval '1 day', idle_expires_at = now() + interval '1 day'"


class Kept:
    """A version's data, served by today's code."""

    def __init__(self, folder: Path, stack: Stack) -> None:
        self.account: dict[str, Any] = json.loads((folder / "account.json").read_text())
        self.stack = stack

    @property
    def key(self) -> str:
        return "".join(self.account["api_key"])

    def ask(self, method: str, path: str, credential: str = "", body: dict[str, Any] | None = None) -> Any:
        """The answer, or the error's answer."""
        headers = {"Content-Type": "application/json", **({"Authorization": credential} if credential else {})}
        data = json.dumps(body).encode() if body is not None else None
        try:
            with urlopen(
                Request(self.stack.url + path, data=data, headers=headers, method=method), timeout=10
            ) as found:
                return json.load(found)
        except HTTPError as error:
            with error:
                return json.load(error)


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda folder: folder.name)
def kept(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres_dsn: str, redis_url: str
) -> Iterator[Kept]:
    from tests.conftest import made_database, on_database

    folder: Path = request.param
    with made_database(postgres_dsn, template=None) as name:
        url = on_database(postgres_dsn, name)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute((folder / "database.sql").read_text().encode())
            connection.execute(LATER)
        migrate(url)
        secrets = json.loads((folder / "secrets.json").read_text())
        var = tmp_path_factory.mktemp("var")
        stack = Stack(var, DATABASE_URL=url, REDIS_URL=redis_url, **secrets)
        stack.up()
        try:
            yield Kept(folder, stack)
        finally:
            stack.interrupt()


def test_password_signs_in(kept: Kept) -> None:
    login = {name: kept.account[name] for name in ("email", "password")}
    answer = kept.ask("POST", "/api/v1/auth/login", body=login)
    assert answer["data"]["user"]["email"] == kept.account["email"]
    wrong = kept.ask("POST", "/api/v1/auth/login", body={**login, "password": "another one"})
    assert wrong["statusCode"] == 401


def test_api_key_works(kept: Kept) -> None:
    assert kept.ask("GET", "/api/v1/me", f"ApiKey {kept.key}")["data"]["user"]["email"] == kept.account["email"]
    changed = kept.key[:-1] + ("a" if kept.key[-1] != "a" else "b")
    assert kept.ask("GET", "/api/v1/me", f"ApiKey {changed}")["statusCode"] == 401


def test_expenses_are_there_to_the_cent(kept: Kept) -> None:
    found = kept.ask("GET", "/api/v1/expenses?per_page=100", f"Bearer {kept.key}")["data"]
    by_id = {expense["id"]: expense for expense in found["items"]}
    assert found["total"] == len(kept.account["expenses"])
    for expense in kept.account["expenses"]:
        assert {name: by_id[expense["id"]][name] for name in expense} == expense
    total = sum((Decimal(expense["amount"]) for expense in kept.account["expenses"]), Decimal(0))
    assert sum((Decimal(expense["amount"]) for expense in found["items"]), Decimal(0)) == total
    categories = kept.ask("GET", "/api/v1/categories?per_page=100", f"Bearer {kept.key}")["data"]
    assert categories["total"] == kept.account["categories"]


def test_session_goes_on_with_tokens_under_the_same_signing_key(kept: Kept) -> None:
    answer = kept.ask("POST", "/api/v1/auth/refresh", body={"refreshToken": kept.account["refresh_token"]})
    token = answer["data"]["accessToken"]
    assert kept.ask("GET", "/api/v1/me", f"Bearer {token}")["data"]["user"]["email"] == kept.account["email"]
    key_ids = {key["kid"] for key in kept.ask("GET", "/.well-known/jwks.json")["keys"]}
    assert {part(token, 0)["kid"], part(kept.account["access_token"], 0)["kid"]} <= key_ids
    assert part(token, 1)["sub"] == part(kept.account["access_token"], 1)["sub"]


def test_old_access_token_is_expired_not_forged(kept: Kept) -> None:
    """Its signature is believed as it was; only its time is over."""
    old = kept.account["access_token"]
    assert kept.ask("GET", "/api/v1/me", f"Bearer {old}")["error"] == "TokenExpired"
    head, claims, signature = old.split(".")
    forged = f"{head}.{claims}.{'A' * len(signature)}"
    assert kept.ask("GET", "/api/v1/me", f"Bearer {forged}")["error"] == "Unauthorized"


def part(token: str, number: int) -> dict[str, Any]:
    text = token.split(".")[number]
    content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return content
