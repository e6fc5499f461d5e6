"""The logs of a whole stack in every form: rotated under load, searchable, and without a secret."""

import gzip
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.conftest import Answer, Client, Stack, StartStack, wait_until

FORMS = ("json", "combined", "dev")
PASSWORD, WRONG = "correct horse battery", "Tr0ub4dor-and-3-more"
IN_A_QUERY, IN_A_HEADER = "sk_query_hunter2hunter2", "malformed-credential-hunter2"
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def stack(start_stack: StartStack, empty_directory: Path) -> Stack:
    limits = {"LIMIT_AUTH": "1000/60", "LIMIT_GENERAL": "100000/60"}
    return start_stack(empty_directory, LAME_DUCK_SECONDS="0", **limits)


@pytest.fixture(scope="module")
def journeys(stack: Stack) -> dict[str, list[str]]:
    """Form → the secrets of a journey that was logged in it; each log was rotated after each."""
    return {form: _journey(stack, form) for form in FORMS}


def _journey(stack: Stack, form: str) -> list[str]:
    if form != "json":  # the default, which it was started with
        (stack.directory / ".env").write_text(f"ACCESS_LOG_FORMAT={form}\n")
        assert stack.gatehouse("restart").returncode == 0
    client, person = stack.client, {"email": f"{form}@example.com", "password": PASSWORD}
    assert client.post("/api/v1/auth/register", person).status == 201
    login = client.post("/api/v1/auth/login", person).data
    assert _wrong_login(client, form).status == 401
    me = client.as_(f"Bearer {login['accessToken']}")
    key = me.post("/api/v1/api-keys", {"name": "laptop"}).data["key"]
    assert client.as_(f"ApiKey {key}").get("/api/v1/expenses").status == 200
    assert client.as_(f"Bearer {key}").get(f"/api/v1/expenses?apikey={IN_A_QUERY}").status in (200, 422)
    referer = {"Referer": f"https://a.example.com/?token={IN_A_QUERY}"}
    assert client.call("GET", "/api/v1/nothing", **referer).status == 401
    assert client.as_(f"Bearer {IN_A_HEADER}").get("/api/v1/me").status == 401
    assert client.post("/api/v1/auth/login", {"password": PASSWORD, "extra": login["refreshToken"]}).status == 422
    fresh = client.post("/api/v1/auth/refresh", {"refreshToken": login["refreshToken"]}).data
    again = client.as_(f"Bearer {fresh['accessToken']}")
    assert again.call("PUT", "/api/v1/me/password", {"currentPassword": WRONG, "newPassword": PASSWORD}).status >= 400
    assert again.post("/api/v1/auth/logout", {"refreshToken": fresh["refreshToken"]}).status == 204
    wait_until(lambda: _lines(stack, "edge", current=True) >= 12, 5, "the journey in the log")
    assert stack.gatehouse("logs", "--rotate").returncode == 0
    tokens = [session[name] for session in (login, fresh) for name in ("accessToken", "refreshToken")]
    return [key, *tokens]


def _wrong_login(client: Client, form: str) -> Answer:
    body = {"email": f"{form}@example.com", "password": WRONG}
    return client.call("POST", "/api/v1/auth/login", body, **{"X-Request-ID": f"wrong-login-{form}"})


def _files(stack: Stack) -> list[Path]:
    return sorted(path for path in (stack.directory / "var" / "logs").iterdir() if not path.name.startswith("."))


def _text(path: Path) -> str:
    return (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()


def _lines(stack: Stack, log: str, *, current: bool = False) -> int:
    paths = [path for path in _files(stack) if path.name == f"{log}.log" or (not current and path.name.startswith(log))]
    return sum(_text(path).count("\n") for path in paths)


def test_no_secret_is_in_any_log_in_any_form(stack: Stack, journeys: dict[str, list[str]]) -> None:
    secrets = [path.read_text().strip() for path in (stack.directory / "var" / "secrets").iterdir()]
    secrets += [PASSWORD, WRONG, IN_A_QUERY, IN_A_HEADER]
    secrets += [stack.credentials["api_key"], stack.credentials["admin"]["password"]]
    secrets += [secret for each in journeys.values() for secret in each]
    logs = {path.name: _text(path) for path in _files(stack)}
    assert {name.partition(".")[0] for name in logs} == {"auth", "core", "edge", "gatehouse", "postgres", "valkey"}
    assert sum(name.endswith(".gz") for name in logs) >= 6
    everything = "".join(logs.values())
    assert all(re.search(form, everything) for form in (r'"event":"request"', r'HTTP/1\.1" 200 ', r" 200 \d+\.\d ms "))
    for name, text in logs.items():
        assert not [secret for secret in secrets if secret in text], name
        assert not re.search(r"eyJ[\w-]+\.eyJ[\w-]+\.|rt_[\w-]{40}|sk_live_\w{20}|postgresql://[^ ]*:[^ ]*@", text), (
            name
        )


def test_a_request_is_found_in_every_form_and_service(stack: Stack, journeys: dict[str, list[str]]) -> None:
    for form in journeys:
        found = stack.gatehouse("logs", "--request", f"wrong-login-{form}", "--json")
        lines = [json.loads(line) for line in found.stdout.splitlines()]
        access = [line for line in lines if line["event"] == "request"]
        assert sorted(line["service"] for line in access) == ["auth", "edge"]
        assert {line["status"] for line in access} == {401}
        assert {line["path"] for line in access} == {"/api/v1/auth/login"}


def test_failed_logins_are_listed_oldest_first_from_all_that_is_kept(
    stack: Stack, journeys: dict[str, list[str]]
) -> None:
    done = stack.gatehouse("logs", "--failed-logins", "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["request_id"] for line in found] == [f"wrong-login-{form}" for form in journeys]
    assert {(line["address"], line["status"], line["path"]) for line in found} == {
        ("127.0.0.1", 401, "/api/v1/auth/login")
    }
    plain = stack.gatehouse("logs", "--failed-logins", "--since", "1h", "-n", "1").stdout
    assert re.fullmatch(r"\S+Z 127\.0\.0\.1 +401 POST /api/v1/auth/login wrong-login-dev\n", plain)
    assert stack.gatehouse("logs", "--failed-logins", "--since", "2099-01-01").stdout == ""
    searched = stack.gatehouse("logs", "--search", "POST.*/LOGIN.*(wrong|401)", "edge").stdout
    assert len(searched.splitlines()) >= 2
    assert stack.gatehouse("logs", "--search", "(").returncode == 2


def test_rotation_under_load_loses_no_access_line(stack: Stack, journeys: dict[str, list[str]]) -> None:
    before = _lines(stack, "edge")
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda _: stack.client.get("/api/v1/me").status, range(400))
        rotations = [stack.gatehouse("logs", "--rotate").returncode for _ in range(3)]
        assert set(answers) == {401}
    assert rotations == [0, 0, 0]
    wait_until(lambda: _lines(stack, "edge") >= before + 400, 5, "every line")
    assert _lines(stack, "edge") == before + 400


def test_reasons_are_told_although_the_log_was_rotated(stack: Stack, journeys: dict[str, list[str]]) -> None:
    assert stack.gatehouse("logs", "--rotate").returncode == 0
    (stack.directory / ".env").write_text("LIMIT_AI=nonsense\nLOG_SIZE_MAX=much\n")
    refused = stack.gatehouse("restart", "edge")
    assert refused.returncode == 1
    assert "edge: LIMIT_AI: " in refused.stderr
    assert "edge: LOG_SIZE_MAX: " in refused.stderr
    assert "not reloaded" in (stack.directory / "var" / "logs" / "edge.log").read_text()
