"""Before a certificate is asked for: each domain that does not lead here is named, and each closed port."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ops.stack.doctor import Finding
from ops.stack.doctor.production import names
from ops.stack.doctor.production.host import Host, own_addresses, resolve
from tests.ops.stacks import free_ports

HERE = "127.0.0.1"


@contextmanager
def listening(count: int = 2) -> Iterator[list[int]]:
    sockets = [socket.create_server((HERE, 0)) for _ in range(count)]
    try:
        yield [server.getsockname()[1] for server in sockets]
    finally:
        for server in sockets:
            server.close()


def host(records: dict[str, list[str]], ports: list[int], **settings: str) -> Host:
    environ = {"GATEHOUSE_ENV_FILE": "/nonexistent", "DOMAINS": ",".join(records), **settings}
    read: dict[str, Any] = {"http_port": ports[0], "https_port": ports[1], "own": frozenset([HERE])}
    made = Host.here(environ)
    return Host(made.configuration, resolve=lambda name: records.get(name, []), **read)


def found(host: Host) -> dict[str, Finding]:
    return {finding.name: finding for finding in names.check(host)}


def test_domains_that_lead_here_and_open_ports_pass() -> None:
    with listening() as ports:
        findings = found(host({"api.example.test": [HERE], "www.example.test": [HERE]}, ports))
    assert {finding.state for finding in findings.values()} == {"ok"}
    assert findings["DNS"].detail == "api.example.test, www.example.test resolve here"


def test_each_domain_that_does_not_lead_here_is_named() -> None:
    records = {"good.test": [HERE], "gone.test": [], "moved.test": ["127.0.0.77"], "half.test": [HERE, "127.0.0.78"]}
    with listening() as ports:
        finding = found(host(records, ports))["DNS"]
    assert finding.state == "fail"
    assert "gone.test does not resolve" in finding.detail
    assert "moved.test resolves to 127.0.0.77, not here" in finding.detail
    assert "half.test resolves to 127.0.0.78, not here" in finding.detail
    assert "good.test resolves" not in finding.detail
    assert "PUBLIC_ADDRESS" in finding.fix


def test_behind_nat_the_public_address_is_told() -> None:
    with listening() as ports:
        told = host({"a.test": ["203.0.113.5"]}, ports, PUBLIC_ADDRESS="203.0.113.5, 2001:db8::1")
        assert found(told)["DNS"].state == "ok"


def test_a_wildcard_is_tried_with_a_name_below_it() -> None:
    with listening() as ports:
        wild = host({"*.example.test": []}, ports)
        assert "gatehouse-check.example.test does not resolve" in found(wild)["DNS"].detail


@pytest.mark.parametrize("closed", [0, 1])
def test_each_closed_port_is_named(closed: int) -> None:
    with listening() as ports:
        ports[closed] = free_ports(1)[0]
        findings = found(host({"a.test": [HERE]}, ports))
    assert findings[f"Port {ports[closed]}"].state == "fail"
    assert f"port {ports[closed]} is closed: nothing listens" in findings[f"Port {ports[closed]}"].detail
    assert findings[f"Port {ports[1 - closed]}"].state == "ok"


def test_a_port_closed_from_outside_only_is_told_apart() -> None:
    with listening() as ports:
        # 127.0.0.2 is another address of this machine on which nothing listens.
        findings = found(host({"a.test": ["127.0.0.2"]}, ports))
    assert "though something listens here" in findings[f"Port {ports[0]}"].detail
    assert "firewall" in findings[f"Port {ports[0]}"].fix


def test_no_domain_is_said() -> None:
    assert "DOMAINS" in found(host({}, [1, 2]))["DNS"].fix


def test_domains_are_read_in_every_form() -> None:
    environ = {
        "GATEHOUSE_ENV_FILE": "/nonexistent",
        "DOMAINS": '["A.test", "b.test"]',
        "DOMAIN1": "b.test",
        "DOMAIN2": "c.test",
    }
    assert Host.here(environ).domains == ["a.test", "b.test", "c.test"]


def test_the_system_s_resolver_is_asked() -> None:
    assert HERE in resolve("localhost")
    assert resolve("gatehouse-check.invalid") == []
    assert resolve("a" * 300 + ".test") == []
    assert HERE not in own_addresses()
