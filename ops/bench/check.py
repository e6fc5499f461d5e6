"""Before anything is measured: does each peer do what its row will say it does?"""

import http.client
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from ops.bench.issuer import forged
from ops.bench.peers import Peer, Setting
from ops.bench.processes import Running
from ops.bench.upstream import BODY

_LIMIT, _ASKED = 5, 20
_LOG_SECONDS = 5
_PATH = "/bench"


class NotAsSaid(Exception):
    """A peer does not do what it is measured for."""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def check(peer: Peer, setting: Setting, port: int) -> None:
    """Starts the peer with two workers and a tiny limit beside the one to be measured. Raises NotAsSaid."""
    folder = setting.folder / "check"
    folder.mkdir(parents=True, exist_ok=True)
    small = replace(setting, folder=folder, port=port, workers=2, limit=_LIMIT, window_seconds=60)
    with peer.run(small) as running:
        if peer.algorithm is None:
            _require_body(peer, ask(running))
            return
        _require_refusals(peer, small, running)
        _require_limit(peer, small, running)
        if peer.has_log:
            _require_log(peer, small)


def ask(running: Running, token: str | None = None, path: str = _PATH) -> Answer:
    """One request on a connection of its own, so that every worker gets some."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    finally:
        connection.close()


def _require_refusals(peer: Peer, setting: Setting, running: Running) -> None:
    good = _token(peer, setting)
    for what, token in {"no token": None, "a forged token": forged(good)}.items():
        if (status := ask(running, token).status) != 401:
            raise NotAsSaid(f"{peer.name} answered {status} to {what}")


def _require_limit(peer: Peer, setting: Setting, running: Running) -> None:
    # A user of its own: the store remembers what an earlier check counted.
    token = _token(peer, setting, user=time.time_ns())
    answers = [ask(running, token) for _ in range(_ASKED)]
    admitted = [answer for answer in answers if answer.status == 200]
    statuses = [answer.status for answer in answers]
    if statuses != [200] * _LIMIT + [429] * (_ASKED - _LIMIT):
        raise NotAsSaid(f"{peer.name} answered {statuses} where {_LIMIT} are allowed")
    for answer in admitted:
        _require_body(peer, answer)
    if len({answer.headers.get("x-request-id") for answer in admitted} - {None}) < _LIMIT:
        raise NotAsSaid(f"{peer.name} gives no request an id of its own")


def _require_body(peer: Peer, answer: Answer) -> None:
    if answer.status != 200 or answer.body != BODY:
        raise NotAsSaid(f"{peer.name} answered {answer.status}, {answer.body[:60]!r}")


def _require_log(peer: Peer, setting: Setting) -> None:
    deadline = time.monotonic() + _LOG_SECONDS
    while setting.access_log.read_bytes().count(_PATH.encode()) < _LIMIT:
        if time.monotonic() > deadline:
            raise NotAsSaid(f"{peer.name} writes no access log")
        time.sleep(0.1)


def _token(peer: Peer, setting: Setting, user: int = 0) -> str:
    assert peer.algorithm is not None
    return setting.issuer.token(peer.algorithm, user)
