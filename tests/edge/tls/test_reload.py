"""A changed file is taken into use while requests go on, and a bad one leaves the good one in its place."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector, web
from structlog.testing import capture_logs

from edge.tls.served import Served
from edge.tls.store import Folders
from edge.tls.watch import Watch
from tests.edge.conftest import StartEdge, StartUpstream, table
from tests.edge.tls.conftest import Certificates, leaf
from tests.edge.tls.test_store import cut


async def test_a_new_certificate_is_served_within_seconds_and_no_request_is_lost(
    start_edge: StartEdge, start_upstream: StartUpstream, certificates: Certificates
) -> None:
    async def hello(_request: web.BaseRequest) -> web.Response:
        return web.Response(text="hello")

    certificates.put("one.test", days=20)
    edge = await start_edge(table(await start_upstream(hello)))
    before = (await leaf(edge.tls_port, "one.test")).serial_number
    url, done, answered = f"https://127.0.0.1:{edge.tls_port}/", asyncio.Event(), 0

    async def load(*, keeps: bool) -> None:
        nonlocal answered
        connector = TCPConnector(ssl=certificates.authority.client(), force_close=not keeps)
        async with ClientSession(connector=connector) as client:
            while not done.is_set():
                async with client.post(url, data=b"x", server_hostname="one.test") as response:
                    assert (response.status, await response.text()) == (200, "hello")
                answered += 1

    loads = [asyncio.create_task(load(keeps=keeps)) for keeps in (True, False, False)]
    for days in (30, 40):
        certificates.put("one.test", days=days)
        async with asyncio.timeout(30):
            while (now := (await leaf(edge.tls_port, "one.test")).serial_number) == before:
                await asyncio.sleep(0.1)
        before = now
    done.set()
    await asyncio.gather(*loads)
    assert answered > 50


def watching(certificates: Certificates) -> tuple[Watch, Served]:
    served = Served()
    return Watch(Folders(certificates.folder, certificates.folder / "acme", "authority"), served), served


def serial(served: Served) -> int:
    """Of what a handshake for one.test is given."""
    found = served.find("one.test")
    assert found is not None
    return id(found.context)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda chain, key, put: cut(chain, 0.6), "only a part of one"),
        (lambda chain, key, put: chain.write_text(put("two.test")[0].read_text()), "does not belong to"),
        (lambda chain, key, put: put("one.test", days=-1), "expired on"),
        (lambda chain, key, put: key.chmod(0o644), "open to other users"),
        (lambda chain, key, put: key.unlink(), "is missing"),
    ],
)
def test_a_bad_pair_is_refused_once_with_its_reason_and_the_old_one_kept(
    certificates: Certificates, spoil: Callable[..., object], reason: str
) -> None:
    chain, key = certificates.put("one.test")
    watch, served = watching(certificates)
    watch.look()
    good = serial(served)
    spoil(chain, key, certificates.put)
    with capture_logs() as lines:
        watch.look()
        watch.look()
    refused = [line for line in lines if line["event"] == "certificate_refused"]
    assert len(refused) == 1
    assert reason in refused[0]["reason"]
    assert refused[0]["kept_until"]
    assert serial(served) == good
    certificates.put("one.test")
    watch.look()
    assert serial(served) != good


def test_a_new_domains_certificate_is_found_and_a_removed_one_stays_until_a_reload(certificates: Certificates) -> None:
    for path in certificates.put("one.test"):
        assert path.exists()
    watch, served = watching(certificates)
    watch.look()
    assert not served.covers("two.test")
    certificates.put("two.test")
    (certificates.folder / "one.test.crt").unlink()
    (certificates.folder / "one.test.key").unlink()
    watch.look()
    assert served.covers("one.test")
    assert served.covers("two.test")


def test_links_that_are_turned_to_another_folder_are_noticed(certificates: Certificates, tmp_path: Path) -> None:
    """As certbot renews, and as Kubernetes changes a mounted secret."""
    for number in (1, 2):
        folder = tmp_path / f"archive{number}"
        folder.mkdir()
        for path, name in zip(certificates.put("one.test", days=10 * number), ("fullchain", "privkey"), strict=True):
            path.rename(folder / f"{name}.pem")
    live = certificates.folder / "one.test"
    live.symlink_to(tmp_path / "archive1")
    watch, served = watching(certificates)
    watch.look()
    first = serial(served)
    live.unlink()
    live.symlink_to(tmp_path / "archive2")
    watch.look()
    assert serial(served) != first
