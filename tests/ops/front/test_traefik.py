"""Traefik's files by their shape: Traefik itself is in no package of the distributions that the tests run on."""

import re
from typing import Any

import pytest
import yaml

from ops.front import Front, render

DOMAINS = (*(f"domain{number}.example.com" for number in range(1, 5)), "*.tenants.example.com")
FRONT = Front(domains=DOMAINS, certificates="", email="ops@example.com", upstream="10.0.0.5:8080")
PREFIX = "traefik.http."


@pytest.fixture(scope="module")
def static() -> dict[str, Any]:
    return yaml.safe_load(render("traefik-static", FRONT))


@pytest.fixture(scope="module")
def dynamic() -> dict[str, Any]:
    return yaml.safe_load(render("traefik", FRONT))


@pytest.fixture(scope="module")
def labels() -> dict[str, str]:
    return yaml.safe_load(render("traefik-labels", FRONT))["services"]["edge"]["labels"]


def test_every_name_that_a_router_uses_is_defined(static: dict[str, Any], dynamic: dict[str, Any]) -> None:
    http = dynamic["http"]
    for router in http["routers"].values():
        assert router["service"] in http["services"]
        assert set(router["entryPoints"]) <= set(static["entryPoints"])
        assert set(router.get("middlewares", [])) <= set(http["middlewares"])
        if tls := router.get("tls"):
            assert tls["options"] in dynamic["tls"]["options"]
            assert tls["certResolver"] in static["certificatesResolvers"]
    for service in http["services"].values():
        assert service["loadBalancer"]["serversTransport"] in http["serversTransports"]


def test_each_domain_has_a_router_and_a_redirect(dynamic: dict[str, Any]) -> None:
    routers = dynamic["http"]["routers"]
    for number, domain in enumerate(DOMAINS, 1):
        secure, plain = routers[f"gatehouse-{number}"], routers[f"gatehouse-{number}-redirect"]
        assert secure["rule"] == plain["rule"]
        assert (secure["entryPoints"], plain["entryPoints"]) == (["websecure"], ["web"])
        assert plain["middlewares"] == ["gatehouse-https"]
        assert matches(secure["rule"], domain.replace("*", "any"))
        assert not matches(secure["rule"], "evil.test")
    assert len(routers) == 2 * len(DOMAINS) + 1
    redirect = dynamic["http"]["middlewares"]["gatehouse-https"]["redirectScheme"]
    assert redirect == {"scheme": "https", "permanent": True}


def matches(rule: str, host: str) -> bool:
    found = re.fullmatch(r"(Host|HostRegexp)\(`(.+)`\)", rule)
    assert found, rule
    return host == found[2] if found[1] == "Host" else re.search(found[2], host) is not None


def test_any_other_host_goes_to_the_edge_last(dynamic: dict[str, Any]) -> None:
    routers = dict(dynamic["http"]["routers"])
    others = routers.pop("gatehouse-others")
    assert (others["rule"], others["priority"]) == ("PathPrefix(`/`)", 1)
    assert not any("priority" in router for router in routers.values())  # by default the rule's length, so higher


def test_the_edge_is_reached_where_it_is_and_asked_for_its_health(dynamic: dict[str, Any]) -> None:
    balancer = dynamic["http"]["services"]["gatehouse"]["loadBalancer"]
    assert balancer["servers"] == [{"url": "http://10.0.0.5:8080"}]
    assert balancer["healthCheck"] == {"path": "/health", "interval": "30s", "timeout": "5s"}
    assert balancer["passHostHeader"] is True


def test_tls_starts_at_1_2_and_nobodys_forwarded_headers_are_believed(
    static: dict[str, Any], dynamic: dict[str, Any]
) -> None:
    assert dynamic["tls"]["options"]["gatehouse"]["minVersion"] == "VersionTLS12"
    for entry in static["entryPoints"].values():
        assert entry["forwardedHeaders"] == {"insecure": False, "trustedIPs": []}
    assert static["api"] == {"dashboard": False, "insecure": False}
    # Files only: no engine's socket is needed.
    assert set(static["providers"]) == {"file"}


def test_the_labels_say_the_same_as_the_file(dynamic: dict[str, Any], labels: dict[str, str]) -> None:
    routers = {name: router for name, router in dynamic["http"]["routers"].items() if name != "gatehouse-others"}
    for name, router in routers.items():
        said = {
            key.removeprefix(f"{PREFIX}routers.{name}."): value for key, value in labels.items() if f".{name}." in key
        }
        expected = {"rule": router["rule"], "entrypoints": router["entryPoints"][0], "service": "gatehouse"}
        if "tls" in router:
            expected |= {"tls.options": "gatehouse@file", "tls.certresolver": "letsencrypt"}
        else:
            expected["middlewares"] = "gatehouse-https"
        assert said == expected
    check = {key.rpartition(".")[2]: value for key, value in labels.items() if ".healthcheck." in key}
    assert check == dynamic["http"]["services"]["gatehouse"]["loadBalancer"]["healthCheck"]
    assert labels["traefik.http.services.gatehouse.loadbalancer.server.port"] == "8080"


def test_nothing_mounts_the_engines_socket() -> None:
    for kind in ("traefik", "traefik-static", "traefik-labels"):
        assert "docker.sock" not in render(kind, FRONT)
        assert "volumes" not in render(kind, FRONT)


def test_own_certificates_take_the_place_of_the_authoritys() -> None:
    front = Front(domains=DOMAINS, certificates="/certs")
    dynamic = yaml.safe_load(render("traefik", front))
    assert {entry["certFile"] for entry in dynamic["tls"]["certificates"]} == {
        f"/certs/{domain.removeprefix('*.')}/fullchain.pem" for domain in DOMAINS
    }
    assert "certificatesResolvers" not in yaml.safe_load(render("traefik-static", front))
    assert "certResolver" not in render("traefik", front)
