"""Answers are judged where they are given, all of them at once."""

from pathlib import Path

import pytest

from ops.setup.answers import Answers, faults, from_settings, judged
from ops.setup.asking import collect

GOOD = {"domains": "api.example.com", "email": "a@example.com"}


def test_every_fault_is_named_at_once_and_each_once() -> None:
    given = {"domains": "https://api.example.com", "workers": "0", "port": "99999", "store": "local", "front": "apache"}
    _, wrong = collect(given, {}, is_host=True, asks=False)
    assert [line.partition(":")[0] for line in wrong] == ["--domains", "--workers", "--port", "--front", "--email"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("domains", ""),
        ("domains", "api.example.com:8080"),
        ("domains", "*.example.com"),
        ("domains", "api..example.com"),
        ("email", "nobody"),
        ("database", "mysql://u:geheim@db/x"),
        ("database", "postgresql://"),
        ("store", "http://cache"),
        ("database_name", "Gate-House"),
        ("workers", "two"),
        ("port", "0"),
        ("alert_hook", "relative/hook"),
        ("alert_hook", "/nonexistent/hook"),
        ("alert_hook", "/tmp"),
    ],
)
def test_a_bad_answer_is_refused_without_a_password_in_the_sentence(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        judged(name, text)
    assert "geheim" not in str(refusal.value)


def test_good_answers_are_taken(tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.touch(0o755)
    found = Answers(domains="API.example.com, *.example.com", email="a@example.com", alert_hook=str(hook))
    assert faults(found) == []
    assert found.settings()["DOMAINS"] == "api.example.com,*.example.com"
    assert found.public_url == "https://api.example.com"


def test_only_a_front_on_this_machine_is_believed() -> None:
    assert Answers(**GOOD, front="nginx").settings()["TRUSTED_PROXIES"] == "127.0.0.1/32,::1/128"
    assert Answers(**GOOD, front="none").settings()["TRUSTED_PROXIES"] == ""


def test_connections_of_two_generations_fit_a_local_server() -> None:
    """Of 100 connections 3 are for superusers; during a reload both services have old and new workers."""
    assert int(Answers(**GOOD, database="local").settings()["DATABASE_POOL_MAX"]) * 2 * 2 < 97


def test_an_earlier_run_is_remembered_and_an_option_wins() -> None:
    left = {
        **Answers(**GOOD, workers=3, port=9000, alert_hook="https://x").settings(),
        "MIGRATE_DATABASE_URL": "postgresql://gh_owner:p@127.0.0.1:5432/gh",
        "REDIS_URL": "rediss://:p@cache.example.com/0",
    }
    found, wrong = collect({"workers": "2"}, from_settings(left, is_host=True), is_host=True, asks=False)
    assert wrong == []
    assert found == Answers(
        **GOOD,
        workers=2,
        port=9000,
        alert_hook="https://x",
        database="local",
        database_name="gh",
        store="rediss://:p@cache.example.com/0",
    )


def test_a_managed_database_of_an_earlier_run_is_not_taken_for_a_local_one() -> None:
    left = {"MIGRATE_DATABASE_URL": "postgresql://x_owner:p@db.example.com/x"}
    assert from_settings(left, is_host=True)["database"] == "managed"
    assert from_settings({"DATABASE_URL": "postgresql://u:p@db/x"}, is_host=True)["database"].startswith("postgresql")
