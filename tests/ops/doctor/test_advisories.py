"""The audit asks a real HTTP server that answers as OSV does, and never hangs or breaks on one that does not."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ops.advisories import AuditImpossible, Vulnerable, audit, installed
from ops.stack.doctor.production import packages
from ops.stack.doctor.production.host import Host

RANGE = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.10.1"}]}
DETAILS = {
    "GHSA-1": {
        "aliases": ["PYSEC-1", "CVE-1"],
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "Jinja2"},
                "ranges": [RANGE, {"type": "GIT", "events": [{"fixed": "abc"}]}],
            },
            {
                "package": {"ecosystem": "npm", "name": "jinja2"},
                "ranges": [{"type": "SEMVER", "events": [{"fixed": "9"}]}],
            },
        ],
    },
    "PYSEC-1": {"aliases": ["GHSA-1"], "affected": []},
    "GHSA-2": {
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "jinja2"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "2.9.6"}]}],
            }
        ]
    },
    "GHSA-3": {"withdrawn": "2025-01-01T00:00:00Z", "affected": []},
}


class Service:
    def __init__(self, results: list[dict[str, Any]] | None = None) -> None:
        self.results = results
        self.asked: list[dict[str, Any]] = []
        self.url = ""


@contextmanager
def serving(service: Service, *, status: int = 200) -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            service.asked.append(body)
            if service.results is not None:
                self._send({"results": service.results})
            elif body["queries"][0].get("page_token"):
                self._send({"results": [{"vulns": [{"id": "GHSA-2"}]}]})
            else:
                found = {"vulns": [{"id": "GHSA-1"}, {"id": "PYSEC-1"}], "next_page_token": "more"}
                self._send({"results": [found if q["package"]["name"] == "jinja2" else {} for q in body["queries"]]})

        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            self._send(DETAILS[name]) if name in DETAILS else self.send_error(404)

        def _send(self, value: object) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_address[1]}/v1/querybatch"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()


def environ(url: str) -> dict[str, str]:
    return {"ADVISORY_URL": url, "GATEHOUSE_ENV_FILE": "/nonexistent"}


def test_advisories_are_told_once_each_with_the_versions_that_mend_them() -> None:
    with serving(Service()) as service:
        found = audit({"aiohttp": "3.14.5", "jinja2": "2.4.1"}, environ=environ(service.url))
    assert found == [Vulnerable("jinja2", "2.4.1", ("GHSA-1", "GHSA-2"), ("2.9.6", "2.10.1"))]
    assert str(found[0]) == "jinja2 2.4.1: GHSA-1, GHSA-2 (fixed in 2.9.6, 2.10.1)"
    first, second = service.asked
    assert first["queries"][0] == {"package": {"name": "aiohttp", "ecosystem": "PyPI"}, "version": "3.14.5"}
    assert [query["page_token"] for query in second["queries"]] == ["more"]


def test_everything_installed_is_asked_about() -> None:
    packages = installed()
    assert {"aiohttp", "orjson", "pydantic", "setuptools"} <= set(packages)
    assert "gatehouse" not in packages
    with serving(Service([{}] * len(packages))) as service:
        assert audit(packages, environ=environ(service.url)) == []
    assert len(service.asked[0]["queries"]) == len(packages)


def test_an_advisory_without_details_is_told_by_its_id() -> None:
    with serving(Service([{"vulns": [{"id": "CVE-0"}]}])) as service:
        found = audit({"x": "1"}, environ=environ(service.url))
    assert str(found[0]) == "x 1: CVE-0 (no fixed version is known)"


def test_a_withdrawn_advisory_is_none() -> None:
    with serving(Service([{"vulns": [{"id": "GHSA-3"}]}])) as service:
        assert audit({"x": "1"}, environ=environ(service.url)) == []


@pytest.mark.parametrize("results", [[], [3], [{"vulns": [{}]}], [{}, {}]])
def test_nonsense_is_no_audit(results: list[Any]) -> None:
    with serving(Service(results)) as service, pytest.raises(AuditImpossible, match="does not answer as an advisory"):
        audit({"x": "1"}, environ=environ(service.url))


def test_an_error_is_no_audit() -> None:
    with serving(Service(), status=503) as service, pytest.raises(AuditImpossible, match="it answered 503"):
        audit({"x": "1"}, environ=environ(service.url))


def test_a_service_that_hangs_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(AuditImpossible):
            audit({"x": "1"}, environ=environ(f"http://127.0.0.1:{silent.getsockname()[1]}/q"), seconds_max=0.3)
        assert time.monotonic() - started < 5


def test_doctor_says_what_is_vulnerable_and_what_it_could_not_ask() -> None:
    with serving(Service([{"vulns": [{"id": "GHSA-2"}]}] + [{}] * (len(installed()) - 1))) as service:
        (finding,) = packages.check(Host.here(environ(service.url)))
    assert (finding.state, "GHSA-2" in finding.detail) == ("fail", True)
    (finding,) = packages.check(Host.here(environ(service.url)))
    assert (finding.state, "Connection refused" in finding.detail) == ("skip", True)
