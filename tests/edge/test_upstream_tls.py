"""Upstreams over TLS are verified, by authorities and by a name that the table may give."""

import ssl
from pathlib import Path

import pytest
from aiohttp import web

from edge.entries import Table
from edge.table import TableError, read_table
from tests.edge.conftest import StartEdge, table
from tests.ops.site import Authority


def with_tls(url: str, tls: str) -> str:
    return table(url).replace("[[route]]", f"tls = {tls}\n[[route]]", 1)


@pytest.mark.parametrize(
    ("tls", "status"),
    [
        ('{{ ca = "{ca}", server_name = "reports.internal" }}', 200),
        ('{{ ca = "{ca}" }}', 502),  # the certificate does not name 127.0.0.1
        ('{{ ca = "{ca}", server_name = "other.internal" }}', 502),
        ('{{ server_name = "reports.internal" }}', 502),  # nobody knows that authority
    ],
)
async def test_upstreams_certificate_is_verified(start_edge: StartEdge, tmp_path: Path, tls: str, status: int) -> None:
    async def hello(_request: web.BaseRequest) -> web.Response:
        return web.Response(text="hello")

    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("reports.internal"))
    runner = web.ServerRunner(web.Server(hello))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    edge = await start_edge(with_tls(url, tls.format(ca=authority.bundle)))
    async with edge.client.get("/") as response:
        assert response.status == status
    await runner.cleanup()


@pytest.mark.parametrize(
    ("url", "tls", "fault"),
    [
        ("https://a.internal", '{ ca = "/nonexistent/ca.pem" }', "/nonexistent/ca.pem cannot be used: No such file"),
        ("https://a.internal", '{ ca = "/dev/null" }', "/dev/null cannot be used: holds no certificate"),
        ("https://a.internal", '{ server_name = "" }', "must not be empty"),
        ("https://a.internal", "{ verify = false }", "unknown field 'tls.verify'"),
        ("http://a.internal", '{ server_name = "a" }', "none of the servers is https://, so nothing would be verified"),
    ],
)
def test_what_verifies_nothing_is_refused(tmp_path: Path, url: str, tls: str, fault: str) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(with_tls(url, tls))
    with pytest.raises(TableError) as refused:
        read(path)
    assert fault in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def read(path: Path) -> Table:
    return read_table(path, lambda _name: None)
