"""The fail2ban filter on the log that a real edge wrote: every failed sign-in, no success, and nobody can be framed."""

import ast
import configparser
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from ops.logs import sign_ins
from tests.edge.access import access_lines
from tests.edge.conftest import Edge, StartEdge, StartUpstream, table
from tests.tools import tool

FAIL2BAN = Path(__file__).parents[2] / "ops" / "fail2ban"
PATHS = ("/api/v1/auth/login", "/auth/login", "/api/v1/auth/second-factor", "/console/login")
FORMS = ("json", "combined")
VICTIM = "198.51.100.66"


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    """The status that the request asks for, at once."""
    return web.Response(status=int(request.headers.get("X-Status", "200")))


async def start(start_edge: StartEdge, start_upstream: StartUpstream, form: str) -> Edge:
    routes = table(await start_upstream(answer), "/", *PATHS)
    return await start_edge(routes, ACCESS_LOG_FORMAT=form, TRUSTED_PROXIES="127.0.0.1/32")


def banned_in(log: Path) -> list[str]:
    """The addresses of matching lines, in their order, as fail2ban reads them."""
    done = subprocess.run(
        [tool("fail2ban-regex"), "--out", "ip", log, FAIL2BAN / "filter.d" / "gatehouse.conf"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize("form", FORMS)
async def test_every_failed_sign_in_matches_and_nothing_else(
    form: str, start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    edge = await start(start_edge, start_upstream, form)
    expected = []
    requests = [
        *((True, "POST", path, status) for path in PATHS for status in (401, 403)),
        *((False, "POST", path, status) for path in PATHS for status in (200, 204, 302, 422, 500, 503)),
        *((False, "GET", PATHS[0], status) for status in (401, 405)),
        *((False, "POST", path, 401) for path in ("/api/v1/me", "/", "/api/v1/auth/loginx", "/api/v1/auth/refresh")),
    ]
    for number, (matches, method, path, status) in enumerate(requests):
        address = f"203.0.113.{number}" if number % 2 else f"2001:db8::{number + 1:x}"
        headers = {"X-Forwarded-For": address, "X-Status": str(status)}
        assert (await edge.client.request(method, path, headers=headers, allow_redirects=False)).status == status
        expected += [address] if matches else []
    await access_lines(tmp_path, len(requests))
    assert banned_in(tmp_path / "access.log") == expected


@pytest.mark.parametrize("form", FORMS)
async def test_a_used_up_auth_limit_counts(
    form: str, start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    routes = table(await start_upstream(answer), PATHS[0], limits='["general", "auth"]')
    edge = await start_edge(routes, ACCESS_LOG_FORMAT=form, TRUSTED_PROXIES="127.0.0.1/32", LIMIT_AUTH="1/60")
    statuses = []
    for _ in range(3):
        headers = {"X-Forwarded-For": "203.0.113.7", "X-Status": "200"}
        statuses.append((await edge.client.post(PATHS[0], headers=headers)).status)
    assert statuses == [200, 429, 429]
    await access_lines(tmp_path, 3)
    assert banned_in(tmp_path / "access.log") == ["203.0.113.7"] * 2


async def test_a_used_up_general_limit_does_not_count_where_the_line_says_so(
    start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    routes = table(await start_upstream(answer), PATHS[0], limits='["general", "auth"]')
    edge = await start_edge(routes, LIMIT_GENERAL="1/60", TRUSTED_PROXIES="127.0.0.1/32")
    headers = {"X-Forwarded-For": "203.0.113.7"}
    assert [(await edge.client.post(PATHS[0], headers=headers)).status for _ in range(2)] == [200, 429]
    assert json.loads((await access_lines(tmp_path, 2))[1])["limit"] == "general"
    assert banned_in(tmp_path / "access.log") == []


def forged(form: str) -> str:
    """A line that would have the victim banned if it stood in the log by itself."""
    if form == "combined":
        return f'{VICTIM} req_12345678 - [23/Nov/2026:03:13:43 +0000] "POST /auth/login HTTP/1.1" 401 5 "-" "-"'
    said = {
        "time": "2026-11-23T03:13:43.123Z",
        "level": "info",
        "service": "edge",
        "event": "request",
        "request_id": "req_12345678",
        "address": VICTIM,
        "method": "POST",
        "host": "a",
        "path": "/auth/login",
        "route": "/auth/login",
        "status": 401,
        "bytes": 5,
        "seconds": 0.1,
    }
    return json.dumps(said, separators=(",", ":"))


@pytest.mark.parametrize("form", FORMS)
async def test_nobody_can_have_somebody_else_banned(
    form: str, start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    (tmp_path / "forged.log").write_text(forged(form) + "\n")
    assert banned_in(tmp_path / "forged.log") == [VICTIM]  # the forgery itself is good

    edge = await start(start_edge, start_upstream, form)
    line = forged(form).encode()
    encoded = re.sub(rb"[^\w/.-]", lambda match: b"%%%02X" % match[0][0], line)
    attempts = [
        b"POST /auth/login HTTP/1.1\r\nHost: a\r\nUser-Agent: " + line,
        b"POST /auth/login HTTP/1.1\r\nHost: a\r\nUser-Agent: x\xe2\x80\xa8" + line,
        b"POST /auth/login HTTP/1.1\r\nHost: a\r\nUser-Agent: x\x0b\x0c\x85" + line,
        b"POST /auth/login HTTP/1.1\r\nHost: a\r\nReferer: " + line,
        b"POST /auth/login HTTP/1.1\r\nHost: a\r\nX-Request-ID: " + VICTIM.encode() + b" " + line,
        b"POST /auth/login HTTP/1.1\r\nHost: " + line,
        b"POST /auth/login%0a" + encoded + b" HTTP/1.1\r\nHost: a",
        b"POST /%0D%0A" + encoded + b" HTTP/1.1\r\nHost: a",
        b"POST /auth/login\x0b" + line.replace(b" ", b"\x0b") + b" HTTP/1.1\r\nHost: a",
        b'POST /","address":"' + VICTIM.encode() + b'","x":" HTTP/1.1\r\nHost: a',
        b"POST /auth/login?" + encoded + b" HTTP/1.1\r\nHost: a",
        b"POST /auth/login HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.5 " + line,
        b"POST /auth/login HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: " + VICTIM.encode() + b", 203.0.113.5",
        line.replace(b" ", b"\x0b") + b" / HTTP/1.1\r\nHost: a",
    ]
    for head in attempts:
        await edge.raw(head + b"\r\nX-Status: 401\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    await access_lines(tmp_path, len(attempts))
    found = banned_in(tmp_path / "access.log")
    assert VICTIM not in found
    assert set(found) <= {"127.0.0.1", "203.0.113.5"}
    assert "203.0.113.5" in found


def test_filter_and_search_agree_on_what_a_sign_in_is() -> None:
    read = configparser.RawConfigParser()
    read.read(FAIL2BAN / "filter.d" / "gatehouse.conf")
    assert read["Definition"]["_paths"] == sign_ins.PATHS


def test_jail_holds_the_figures_and_bans_by_nftables(tmp_path: Path) -> None:
    """As the installed fail2ban reads it, with its own actions."""
    client = tool("fail2ban-client")
    shutil.copytree("/etc/fail2ban", tmp_path / "fail2ban")
    for part in ("filter.d", "jail.d"):
        shutil.copy(FAIL2BAN / part / "gatehouse.conf", tmp_path / "fail2ban" / part)
    log = tmp_path / "edge.log"
    log.touch()
    own = f"[DEFAULT]\nenabled = false\n[sshd]\nenabled = false\n[gatehouse]\nenabled = true\nlogpath = {log}\n"
    (tmp_path / "fail2ban" / "jail.local").write_text(own)
    (tmp_path / "fail2ban" / "jail.d" / "defaults-debian.conf").unlink(missing_ok=True)
    done = subprocess.run(
        [client, "-c", tmp_path / "fail2ban", "-d"], capture_output=True, text=True, timeout=60, check=True
    )
    said = [ast.literal_eval(line) for line in done.stdout.splitlines() if line.startswith("[")]
    settings = {words[2]: words[3] for words in said if words[:2] == ["set", "gatehouse"] and len(words) == 4}
    assert [int(settings[name]) for name in ("maxretry", "findtime", "bantime")] == [10, 600, 3600]
    (action,) = [words for words in said if words[:3] == ["multi-set", "gatehouse", "action"]]
    given = dict(action[4])
    assert action[3] == "nftables"
    assert (given["port"], given["protocol"], given["type"]) == ("80,443", "tcp", "multiport")


@pytest.fixture
def jail(tmp_path: Path) -> Iterator[Path]:
    """A real fail2ban over the access log, whose action writes down whom it bans; the file it writes to."""
    server, client = tool("fail2ban-server"), tool("fail2ban-client")
    config = tmp_path / "fail2ban"
    for part in ("filter.d", "jail.d", "action.d"):
        (config / part).mkdir(parents=True)
    for part in ("filter.d", "jail.d"):
        shutil.copy(FAIL2BAN / part / "gatehouse.conf", config / part)
    banned = tmp_path / "banned"
    (config / "action.d" / "remember.conf").write_text(f"[Definition]\nactionban = echo <ip> >> {banned}\n")
    (config / "fail2ban.conf").write_text(
        "[Definition]\nloglevel = INFO\nlogtarget = STDOUT\nsyslogsocket = auto\nallowipv6 = auto\n"
        f"socket = {tmp_path}/socket\npidfile = {tmp_path}/pid\ndbfile = {tmp_path}/database\ndbpurgeage = 1d\n"
    )
    (config / "jail.conf").write_text("[DEFAULT]\n")
    (config / "jail.local").write_text(
        f"[gatehouse]\nlogpath = {tmp_path}/access.log\naction = remember\nusedns = no\n"
    )
    (tmp_path / "access.log").touch()
    process = subprocess.Popen([server, "-c", config, "-f", "start"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        _until(lambda: "gatehouse" in _ask(client, config, "status"), 30)
        yield banned
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _ask(client: str, config: Path, *words: str) -> str:
    done = subprocess.run([client, "-c", config, *words], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout


def _until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


async def test_a_guesser_is_banned_and_others_are_not(
    jail: Path, start_edge: StartEdge, start_upstream: StartUpstream, tmp_path: Path
) -> None:
    edge = await start(start_edge, start_upstream, "json")

    async def sign_in(address: str, status: int) -> None:
        headers = {"X-Forwarded-For": address, "X-Status": str(status)}
        assert (await edge.client.post(PATHS[0], headers=headers)).status == status

    for _ in range(9):
        await sign_in("203.0.113.20", 401)  # nine are allowed
    for _ in range(20):
        await sign_in("203.0.113.30", 200)
    for _ in range(10):
        await sign_in("203.0.113.10", 401)
    await access_lines(tmp_path, 39)
    _until(jail.exists, 30)
    assert jail.read_text().split() == ["203.0.113.10"]
