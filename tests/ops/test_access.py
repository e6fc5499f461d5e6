"""The access review shows who has power, which keys are forgotten and who guesses, and holds no secret."""

import json
import os
import subprocess
import sys
import uuid
from typing import Any

import psycopg
import pytest

from ops.access import review


class Accounts:
    """Rows as the auth service writes them."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.organizations = {kind: self._organization(kind) for kind in ("personal", "team", "system")}

    def _organization(self, kind: str) -> uuid.UUID:
        made = uuid.uuid4()
        self._run("INSERT INTO auth.organizations (id, name, kind) VALUES (%s, %s, %s)", made, f"the {kind}", kind)
        return made

    def user(self, email: str, *, role: str = "admin", kind: str = "personal", is_active: bool = True) -> uuid.UUID:
        made, org = uuid.uuid4(), self.organizations[kind]
        self._run(
            "INSERT INTO auth.users (id, email, email_normalized, is_active, current_org_id)"
            " VALUES (%s, %s, %s, %s, %s)",
            *(made, email, email, is_active, org),
        )
        self._run("INSERT INTO auth.memberships (org_id, user_id, role) VALUES (%s, %s, %s)", org, made, role)
        return made

    def key(self, user: uuid.UUID, name: str, *, unused_days: int, revoked: bool = False) -> None:
        self._run(
            "INSERT INTO auth.api_keys (id, org_id, user_id, name, hash, pepper_id, preview, created_at, last_used_at,"
            " revoked_at) VALUES (%s, %s, %s, %s, %s, 'p', %s, now() - make_interval(days => 200),"
            " now() - make_interval(days => %s), CASE WHEN %s THEN now() END)",
            *(
                uuid.uuid4(),
                self.organizations["personal"],
                user,
                name,
                name.encode(),
                f"…{name}",
                unused_days,
                revoked,
            ),
        )

    def sign_in(self, user: uuid.UUID | None, result: str, *, address: str = "192.0.2.1", days_ago: int = 0) -> None:
        self._run(
            "INSERT INTO auth.login_events (id, at, user_id, result, address, agent)"
            " VALUES (%s, now() - make_interval(days => %s), %s, %s, %s, 'x')",
            *(uuid.uuid4(), days_ago, user, result, address),
        )

    def _run(self, statement: Any, *values: object) -> None:
        self._connection.execute(statement, values)


@pytest.fixture
def filled(database_url: str) -> str:
    with psycopg.connect(database_url) as connection:
        made = Accounts(connection)
        boss = made.user("boss@example.com", kind="system")
        made.user("gone@example.com", kind="team", role="operator", is_active=False)
        plain = [made.user(f"user{number}@example.com") for number in range(6)]
        made.sign_in(boss, "succeeded", days_ago=2)
        made.sign_in(boss, "failed", days_ago=40)
        for user in plain:
            made.sign_in(user, "failed", address="198.51.100.9")
        made.sign_in(None, "failed", address="198.51.100.9")
        made.key(plain[0], "forgotten", unused_days=120)
        made.key(plain[1], "busy", unused_days=0)
        made.key(plain[2], "ended", unused_days=120, revoked=True)
    return database_url


def test_power_keys_and_failures_are_listed(filled: str) -> None:
    found = review(filled, days=30)
    assert found["counts"] == {
        "accounts": 8,
        "inactive_accounts": 1,
        "new_accounts": 8,
        "open_sessions": 0,
        "working_keys": 2,
        "sign_ins": 1,
        "failed_sign_ins": 7,
    }
    members = [(member["account"], member["kind"], member["role"]) for member in found["members"]]
    assert members == [("boss@example.com", "system", "admin"), ("gone@example.com", "team", "operator")]
    assert [key["name"] for key in found["keys"]] == ["forgotten", "busy"]
    (address,) = found["failed_addresses"]
    assert (address["address"], address["attempts"], address["accounts"]) == ("198.51.100.9", 7, 6)
    assert len(found["failed_accounts"]) == 6


def test_notes_say_what_to_look_at_first(filled: str) -> None:
    assert review(filled, days=30)["notes"] == [
        "gone@example.com is inactive and still operator of the team: remove it",
        "key forgotten (…forgotten) of user0@example.com is unused for 120 days: end it",
        "198.51.100.9 failed on 6 accounts: somebody guesses",
    ]


def test_the_time_asked_for_is_the_time_looked_at(filled: str) -> None:
    assert review(filled, days=60)["counts"]["failed_sign_ins"] == 8


def test_lists_are_bounded(filled: str) -> None:
    assert len(review(filled, days=30, list_max=3)["failed_accounts"]) == 3


def run(*words: str, url: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "DATABASE_URL": url, "GATEHOUSE_ENV_FILE": "/nonexistent", "GATEHOUSE_VAR": "/nonexistent"}
    command = [sys.executable, "-m", "ops.cli", "access", *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_prints_it_for_people_and_programs(filled: str) -> None:
    assert json.loads(run("--json", url=filled).stdout)["counts"]["accounts"] == 8
    shown = run(url=filled).stdout
    assert "boss@example.com" in shown
    assert "somebody guesses" in shown


def test_a_database_that_is_away_is_one_sentence() -> None:
    done = run(url="postgresql://u:secret@127.0.0.1:9/x")
    assert done.returncode == 1
    assert done.stderr.startswith("error: the database does not answer the review")
    assert "secret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
