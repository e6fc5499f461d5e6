"""Access lines: one a request, in three forms that programs can read, whatever a client sends."""

import json
import re
from pathlib import Path

import pytest
from aiohttp import web

from ops.logs.lines import fields_of
from tests.edge.access import access_lines
from tests.edge.conftest import StartEdge, StartUpstream, table

# As it stands in tutorials, end of line included.
STANDARD = re.compile(
    r'^(\S+) (\S+) (\S+) \[([\w:/]+\s[+\-]\d{4})\] "(\S+) (\S+)\s*(\S+)?\s*" (\d{3}) (\d+|-) "([^"]*)" "([^"]*)"$'
)
FORMS = ("json", "combined", "dev")


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(status=201, text="12345")


async def test_json_says_everything_in_this_order(
    start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    edge = await start_edge(table(await start_upstream(answer)))
    await edge.client.get("/a/b?apikey=hunter2", headers={"X-Request-ID": "the-request-0001"})
    (line,) = await access_lines(tmp_path, 1)
    said = json.loads(line)
    assert " ".join(said) == ("time level service event request_id address method host path route status bytes seconds")
    assert (said["service"], said["event"], said["request_id"]) == ("edge", "request", "the-request-0001")
    assert (said["address"], said["method"], said["path"]) == ("127.0.0.1", "GET", "/a/b")
    assert (said["status"], said["bytes"]) == (201, 5)


async def test_combined_parses_with_a_standard_expression(
    start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    edge = await start_edge(table(await start_upstream(answer)), ACCESS_LOG_FORMAT="combined")
    headers = {"X-Request-ID": "the-request-0001", "User-Agent": "Mozilla/5.0 (X11)", "Referer": "https://a.b/c?key=1"}
    await edge.client.post("/a/b?apikey=hunter2", headers=headers)
    (line,) = await access_lines(tmp_path, 1)
    match = STANDARD.match(line)
    assert match, line
    assert match.group(1, 2, 3, 5, 6, 7, 8, 9, 10, 11) == (
        "127.0.0.1",
        "the-request-0001",
        "-",
        "POST",
        "/a/b",
        "HTTP/1.1",
        "201",
        "5",
        "https://a.b/c",
        "Mozilla/5.0 (X11)",
    )
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", match[4])


async def test_dev_is_short(start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path) -> None:
    edge = await start_edge(table(await start_upstream(answer)), ACCESS_LOG_FORMAT="dev")
    await edge.client.get("/a?apikey=hunter2", headers={"X-Request-ID": "the-request-0001"})
    (line,) = await access_lines(tmp_path, 1)
    assert re.fullmatch(r"\S+Z GET /a 201 \d+\.\d ms 5 B 127\.0\.0\.1 the-request-0001", line)


HOSTILE = [
    b'GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: x" 200 1 "-" "y\\\xff\xc3\xa9\t\x7f\r\n',
    b'GET / HTTP/1.1\r\nHost: a\r\nReferer: " [01/Jan/2026:00:00:00 +0000] "\r\n',
    b"GET /%22%0a203.0.113.1%20-%20- HTTP/1.1\r\nHost: a\r\n",
    b"GET /\xe2\x80\xa8\xff HTTP/1.1\r\nHost: a\r\n",
    b'GET / HTTP/1.1\r\nHost: "\\"\r\n',
    b'GET / HTTP/1.0\r\nHost: a\r\nX-Request-ID: "\\" 1\r\n',
    b'G"ET / HTTP/1.1\r\nHost: a\r\n',
    b"GET http://b/ HTTP/1.1\r\nHost: a\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Unparsable: \x0b\r\n",
]


@pytest.mark.parametrize("form", FORMS)
async def test_whatever_is_sent_a_request_is_one_line_that_parses(
    form: str, start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    edge = await start_edge(table(await start_upstream(answer)), ACCESS_LOG_FORMAT=form, TRUSTED_PROXIES="127.0.0.1/32")
    for head in HOSTILE:
        assert (await edge.raw(head + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 ")
    lines = await access_lines(tmp_path, len(HOSTILE))
    assert len(lines) == len(HOSTILE)
    read = [fields_of(line, "edge") for line in lines]
    assert [fields["address"] for fields in read if fields] == ["127.0.0.1"] * len(HOSTILE), lines
    if form == "combined":
        assert all(STANDARD.match(line) for line in lines), lines


async def test_a_refusal_by_a_limit_names_the_limit(
    start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    routes = table(await start_upstream(answer), limits='["general", "auth"]')
    edge = await start_edge(routes, LIMIT_AUTH="1/60", LIMIT_GENERAL="2/60")
    for _ in range(2):
        await edge.client.get("/a")
    lines = [json.loads(line) for line in await access_lines(tmp_path, 2)]
    assert [(line["status"], line.get("limit")) for line in lines] == [(201, None), (429, "auth")]
