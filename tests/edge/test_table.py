"""A bad route table is refused whole, and every fault is named with its line."""

import time
from pathlib import Path

import pytest

import edge
from edge.app import read_settings
from edge.entries import StreamEntry, Table
from edge.table import TableError, read_table
from tests.edge.conftest import KEYS

GOOD = '[upstream.a]\nservers = ["http://127.0.0.1:1"]\n\n[[route]]\npath = "/x"\nupstream = "a"\n'


def read(path: Path, text: str, **environ: str) -> object:
    path.write_text(text)
    return read_table(path, environ.get)


def test_shipped_table_is_good() -> None:
    shipped = Path(edge.__file__).parent / "routes.toml"
    table = read_table(shipped, lambda _name: "http://127.0.0.1:1")
    assert {"auth", "core"} <= table.upstreams.keys()


def test_every_fault_is_named_with_its_line_whatever_else_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "routes.toml"
    text = (
        '[upstream.a]\nservers = ["ftp://x"]\n\n'
        '[[route]]\npath = "no-slash"\nupstream = "a"\n\n'
        '[[route]]\npath = "/y"\nupstream = "a"\nauth = "maybe"\ncolour = "blue"\nbody_max = "1 lot"\n\n'
        '[[route]]\npath = "/z"\nupstream = "nowhere"\n\n'
        '[[route]]\npath = "/without"\n\n'
        '[[routes]]\npath = "/typo"\n'
    )
    with pytest.raises(TableError) as caught:
        read(file, text)
    said = [line.removeprefix(f"{file}:") for line in str(caught.value).splitlines()]
    assert [int(line.split(":")[0]) for line in said] == [2, 5, 11, 12, 13, 15, 19, 22]
    assert said[1:5] == [
        "5: path: must be a plain path such as /api/v1/reports, without pattern, query or escapes",
        "11: auth must be one of 'required', 'optional' or 'none'",
        "12: unknown field 'colour'",
        '13: body_max: must be a size like "1MiB", "64KiB" or a number of bytes',
    ]
    assert said[5:] == [
        "15: route /z names the unknown upstream 'nowhere'",
        "19: upstream is required",
        "22: unknown field 'routes'",
    ]


def test_references_and_repetitions_are_faults(tmp_path: Path) -> None:
    file = tmp_path / "routes.toml"
    text = GOOD + '\n[[route]]\npath = "/x/"\nupstream = "a"\n\n[[route]]\npath = "/z"\nupstream = "nowhere"\n'
    with pytest.raises(TableError) as caught:
        read(file, text)
    assert f"{file}:8: route /x/ repeats the one at {file}:4" in str(caught.value)
    assert f"{file}:12: route /z names the unknown upstream 'nowhere'" in str(caught.value)


def test_environment_is_looked_up_and_its_absence_named(tmp_path: Path) -> None:
    file = tmp_path / "routes.toml"
    text = GOOD.replace("http://127.0.0.1:1", "env:MY_URL")
    with pytest.raises(TableError, match=r"routes.toml:2: MY_URL is not set"):
        read(file, text)
    table = read_table(file, {"MY_URL": "http://there:9"}.get)
    assert table.upstreams["a"].servers == ["http://there:9"]


def test_includes_are_read_and_blamed_by_name(tmp_path: Path) -> None:
    (tmp_path / "routes.d").mkdir()
    (tmp_path / "routes.d" / "more.toml").write_text('[[route]]\npath = "/more"\nupstream = "a"\nnope = 1\n')
    with pytest.raises(TableError, match=r"more.toml:4: unknown field 'nope'"):
        read(tmp_path / "routes.toml", 'include = ["routes.d/*.toml"]\n' + GOOD)


def test_include_may_be_an_absolute_path(tmp_path: Path) -> None:
    """As a host's own table includes the one that ships with each release."""
    shipped = Path(edge.__file__).parent / "routes.toml"
    (tmp_path / "routes.d").mkdir()
    (tmp_path / "routes.d" / "own.toml").write_text(GOOD)
    (tmp_path / "routes.toml").write_text(f'include = ["{shipped}", "routes.d/*.toml"]\n')
    table = read_table(tmp_path / "routes.toml", lambda _name: "http://127.0.0.1:1")
    assert table.upstreams.keys() == {"auth", "core", "a"}


def test_syntax_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"routes.toml:1: no TOML: "):
        read(tmp_path / "routes.toml", "[upstream.a\n")


@pytest.mark.parametrize(
    "line",
    [
        'limits = ["general", "general"]',
        'methods = ["get"]',
        "body_max = -1",
        'permission = "all"',
        "timeout = 3",
        'methods = ["GTE"]',
        "stream = 3",
        "stream = { per_caller = 0 }",
        "stream = { idle = 0 }",
        "stream = { hours = 1 }",
        'websocket = "yes please"',
    ],
)
def test_what_could_never_work_is_a_fault(tmp_path: Path, line: str) -> None:
    with pytest.raises(TableError, match=r"routes.toml:7: "):
        read(tmp_path / "routes.toml", GOOD + line + "\n")


@pytest.mark.parametrize("host", ["a b", "https://x.example", "x.example:80", "*", "x.*", "bücher.example", ""])
def test_host_that_no_client_can_name_is_a_fault(tmp_path: Path, host: str) -> None:
    with pytest.raises(TableError, match=r"routes.toml:7: hosts: .* is no host such as"):
        read(tmp_path / "routes.toml", f'{GOOD}hosts = ["{host}"]\n')


def test_hosts_are_names_addresses_and_wildcards(tmp_path: Path) -> None:
    read(
        tmp_path / "routes.toml",
        GOOD + 'hosts = ["Shop.example.com", "*.example.com", "localhost", "10.0.0.1", "[::1]"]',
    )


@pytest.mark.parametrize("line", ["allow = []", 'allow = [" , "]', 'allow = ["env:OFFICE"]'])
def test_list_that_allows_nobody_does_not_allow_everybody(tmp_path: Path, line: str) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(GOOD + line + "\n")
    with pytest.raises(TableError, match=r"routes.toml:7: allow: names nobody"):
        read_table(file, {"OFFICE": ","}.get)


def test_list_of_a_variable_that_is_not_set_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(TableError) as caught:
        read(tmp_path / "routes.toml", GOOD + 'allow = ["env:OFFICE"]\n')
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["OFFICE is not set"]


def test_websocket_needs_get(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"routes.toml:8: websocket: a WebSocket is opened with GET"):
        read(tmp_path / "routes.toml", GOOD + 'methods = ["POST"]\nwebsocket = true\n')


def test_streams_have_bounds_without_saying_them(tmp_path: Path) -> None:
    defaults = StreamEntry(per_caller=10, seconds=3600, idle=300)
    for line, expected in (
        ("stream = true", defaults),
        ("stream = {}", defaults),
        ("stream = { idle = 20 }", StreamEntry(per_caller=10, seconds=3600, idle=20)),
        ("stream = false", None),
    ):
        assert read(tmp_path / "routes.toml", GOOD + line).routes[0].stream == expected


@pytest.mark.parametrize("server", ["http://h:abc", "http://[x", "http://h/path", "h:80"])
def test_server_that_is_no_address_is_a_fault(tmp_path: Path, server: str) -> None:
    with pytest.raises(TableError, match=r"routes.toml:2: "):
        read(tmp_path / "routes.toml", GOOD.replace("http://127.0.0.1:1", server))


def test_bench_route_is_there_while_its_variable_is_set(tmp_path: Path) -> None:
    (tmp_path / "routes.toml").write_text(GOOD)
    environ = {**KEYS, "GATEHOUSE_VAR": str(tmp_path), "EDGE_ROUTES": str(tmp_path / "routes.toml")}
    _, without = read_settings(environ)
    assert [route.path for route in without.routes] == ["/x"]
    _, table = read_settings({**environ, "BENCH_UPSTREAM": "http://127.0.0.1:9"})
    bench = table.routes[-1]
    assert (bench.path, bench.methods, bench.auth, bench.limits) == ("/bench", ["GET"], "required", ["general"])
    assert table.upstreams[bench.upstream].servers == ["http://127.0.0.1:9"]


def test_table_of_ten_thousand_routes_is_read_in_seconds(tmp_path: Path) -> None:
    routes = (f'[[route]]\npath = "/x/{number}"\nupstream = "a"\n' for number in range(10_000))
    started = time.process_time()
    table = read(tmp_path / "routes.toml", GOOD + "\n".join(routes))
    assert isinstance(table, Table)
    assert len(table.routes) == 10_001
    assert time.process_time() - started < 20  # by a look for each route's line it was minutes


def test_servers_weights_and_checks_are_read(tmp_path: Path) -> None:
    text = GOOD.replace(
        'servers = ["http://127.0.0.1:1"]',
        'servers = ["env:BOTH"]\nweight = { "env:GREEN" = 0 }\nhealth = { path = "/ready" }',
    )
    table = read(tmp_path / "routes.toml", text, BOTH="http://blue:1, http://green:1/", GREEN="http://green:1/")
    upstream = table.upstreams["a"]  # type: ignore[attr-defined]
    assert upstream.servers == ["http://blue:1", "http://green:1"]
    assert upstream.weight == {"http://green:1": 0}
    assert (upstream.health.interval, upstream.health.timeout) == (30, 5)
    assert table.routes[0].retries == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('weight = { "http://other:1" = 1 }', "weight: http://other:1 is none of the servers"),
        ('weight = { "http://127.0.0.1:1" = 0 }', "weight: must leave at least one server more than 0"),
        ('weight = { "http://127.0.0.1:1" = 1001 }', "must be at most 1000"),
        ('weight = { "http://127.0.0.1:1" = 0.5 }', "must be a whole number"),
        ('health = { path = "ready" }', "health.path: must be a path such as /health"),
        ('health = { path = "/ready", interval = 0 }', "health.interval must be greater than 0\n"),
        ('health = { path = "/ready", interval = "soon" }', "health.interval must be a number"),
        ("health = { interval = 5 }", "path is required"),
        ('health = { path = "/ready", every = 5 }', "unknown field 'health.every'"),
    ],
)
def test_fault_of_an_upstream_is_a_sentence(tmp_path: Path, line: str, said: str) -> None:
    text = GOOD.replace('servers = ["http://127.0.0.1:1"]', f'servers = ["http://127.0.0.1:1"]\n{line}')
    with pytest.raises(TableError) as caught:
        read(tmp_path / "routes.toml", text)
    assert said in f"{caught.value}\n"
    assert "routes.toml:3: " in str(caught.value)


def test_server_named_twice_is_a_fault_and_one_that_is_not_set_no_second_one(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="must name each server once"):
        read(tmp_path / "routes.toml", GOOD.replace('1"]', '1", "http://127.0.0.1:1/"]'))
    with pytest.raises(TableError) as caught:
        read(tmp_path / "routes.toml", GOOD.replace('"http://127.0.0.1:1"', '"env:BLUE", "env:GREEN"'))
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["BLUE is not set", "GREEN is not set"]


@pytest.mark.parametrize("stream", ["true", "{ seconds = 60 }"])
def test_route_whose_answers_last_keeps_none(tmp_path: Path, stream: str) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(f"{GOOD}stream = {stream}\ncache = {{ seconds = 10 }}\n")
    with pytest.raises(
        TableError, match=r"routes\.toml:\d+: stream: what lasts is not kept: a route has stream or cache"
    ):
        read_table(file, {}.get)
    file.write_text(f"{GOOD}stream = false\ncache = {{ seconds = 10 }}\n")
    assert read_table(file, {}.get).routes[0].stream is None
