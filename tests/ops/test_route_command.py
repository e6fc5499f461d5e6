"""`gatehouse route`: a file is judged with the whole table before it is put there; it is there whole or not at all."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge.table import read_table
from ops.cli.route import command
from ops.stack.errors import StackError

TABLE = (
    'include = ["routes.d/*.toml"]\n[upstream.core]\nservers = ["env:CORE_URL"]\n'
    '[[route]]\npath = "/api/v1/"\nupstream = "core"\n'
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "routes.toml").write_text(TABLE)
    monkeypatch.setenv("EDGE_ROUTES", str(tmp_path / "routes.toml"))
    return tmp_path / "routes.d"


def route(*words: str) -> Result:
    """Raises StackError, which `gatehouse` prints."""
    result = CliRunner().invoke(command, words)
    if isinstance(result.exception, StackError):
        raise result.exception
    return result


def test_added_route_is_in_the_table_and_gone_when_removed(folder: Path) -> None:
    words = ("--to", "http://127.0.0.1:9000", "--to", "http://127.0.0.1:9001", "--path", "/api/v1/reports")
    said = route("add", "reports", *words, "--permission", "reports:read", "--strip-prefix")
    assert said.exit_code == 0
    assert "/api/v1/reports goes to http://127.0.0.1:9000, http://127.0.0.1:9001" in said.output
    table = read_table(folder.parent / "routes.toml", lambda _name: "http://core:1")
    assert list(table.upstreams["reports"].servers) == ["http://127.0.0.1:9000", "http://127.0.0.1:9001"]
    (added,) = (entry for entry in table.routes if entry.upstream == "reports")
    assert (added.path, added.auth, added.permission) == ("/api/v1/reports", "required", "reports:read")
    listed = json.loads(route("list", "--json").output)["routes"]
    assert [(entry["path"], entry["upstream"]) for entry in listed] == [
        ("/api/v1/", "core"),
        ("/api/v1/reports", "reports"),
    ]
    assert json.loads(route("remove", "reports", "--json").output) == {
        "name": "reports",
        "file": str(folder / "reports.toml"),
    }
    assert list(folder.iterdir()) == []


def test_hosts_alone_take_every_path(folder: Path) -> None:
    assert route("add", "shop", "--to", "http://127.0.0.1:1", "--host", "shop.test", "--auth", "none").exit_code == 0
    assert "shop.test  /" in route("list").output


def test_faulty_route_is_refused_by_name_and_nothing_is_left(folder: Path) -> None:
    with pytest.raises(StackError) as caught:
        route("add", "bad", "--to", "ftp://x", "--path", "no slash")
    assert str(caught.value).splitlines() == [
        f"{folder}/bad.toml:2: servers: 'ftp://x' is not http://host:port, https://host:port or unix:///path",
        f"{folder}/bad.toml:5: path: must be a plain path such as /api/v1/reports, without pattern, query or escapes",
    ]
    with pytest.raises(StackError, match=r"repeats the one at .*routes.toml:4"):
        route("add", "again", "--to", "http://x:1", "--path", "/api/v1")
    assert list(folder.iterdir()) == []


def test_existing_route_is_replaced_only_when_that_is_said(folder: Path) -> None:
    route("add", "it", "--to", "http://a:1", "--path", "/a")
    with pytest.raises(StackError, match="--replace replaces it"):
        route("add", "it", "--to", "http://b:1", "--path", "/a")
    assert route("add", "it", "--to", "http://b:1", "--path", "/a", "--replace").exit_code == 0
    assert "http://b:1" in (folder / "it.toml").read_text()


def test_route_that_others_need_is_not_removed(folder: Path) -> None:
    route("add", "it", "--to", "http://a:1", "--path", "/a")
    (folder / "more.toml").write_text('[[route]]\npath = "/more"\nupstream = "it"\n')
    with pytest.raises(StackError, match=r"more.toml:1: route /more names the unknown upstream 'it'"):
        route("remove", "it")
    assert (folder / "it.toml").exists()


def test_wrong_usage_is_told(folder: Path) -> None:
    assert route("add", "it", "--to", "http://a:1").exit_code == 2
    with pytest.raises(StackError, match="no route is named it"):
        route("remove", "it")
    with pytest.raises(StackError, match="is no name for a route"):
        route("add", "../it", "--to", "http://a:1", "--path", "/a")
