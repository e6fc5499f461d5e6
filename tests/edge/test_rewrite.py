"""What an upstream is asked for when its route replaces the prefix of a path."""

from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from edge.policies.paths import normal_path
from edge.table import TableError, read_table
from edge.upstream.forward import rewritten
from tests.edge.conftest import StartEdge, StartUpstream, table


async def target(request: web.BaseRequest) -> web.Response:
    return web.Response(text=request.raw_path)


@pytest.mark.parametrize(
    ("rewrite", "asked", "seen"),
    [
        ("/new/prefix", "/old", "/new/prefix"),
        ("/new/prefix", "/old/", "/new/prefix/"),
        ("/new/prefix", "/old/a/b%20c?x=1&y=/old", "/new/prefix/a/b%20c?x=1&y=/old"),
        ("/new/", "/old/a", "/new/a"),
        ("/", "/old", "/"),
        ("/", "/old?x", "/?x"),
        ("/", "/old/a", "/a"),
        ("/v2", "/old/old", "/v2/old"),
    ],
)
async def test_prefix_is_replaced_and_nothing_else(
    start_edge: StartEdge, start_upstream: StartUpstream, rewrite: str, asked: str, seen: str
) -> None:
    edge = await start_edge(table(await start_upstream(target), "/old", rewrite=f'"{rewrite}"'))
    async with edge.client.get(edge.url + asked) as response:
        assert await response.text() == seen


async def test_route_for_everything_can_be_put_below_a_prefix(
    start_edge: StartEdge, start_upstream: StartUpstream
) -> None:
    edge = await start_edge(table(await start_upstream(target), "/", rewrite='"/app"'))
    for asked, seen in (("/", "/app/"), ("/x", "/app/x")):
        async with edge.client.get(asked) as response:
            assert await response.text() == seen


_segment = st.text("abcXYZ019-._~", min_size=1, max_size=4).filter(lambda text: text not in (".", ".."))
_path = st.lists(_segment, max_size=4).map(lambda segments: "/" + "/".join(segments))


@given(prefix=_path, rewrite=_path, rest=_path)
def test_forwarded_path_stays_normal(prefix: str, rewrite: str, rest: str) -> None:
    path = rewritten(rewrite.rstrip("/"), prefix, prefix.rstrip("/") + rest)
    assert normal_path(path) == path


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ('rewrite = "new"', "rewrite: must be a plain path"),
        ('rewrite = "/a/../b"', "rewrite: must be a plain path"),
        ('rewrite = "/a?b"', "rewrite: must be a plain path"),
        ('rewrite = "/a//b"', "rewrite: must be a plain path"),
        ('rewrite = "/a"\nstrip_prefix = true', "rewrite: strip_prefix removes what this replaces"),
    ],
)
def test_rewrite_that_cannot_be_kept_is_refused_by_line(tmp_path: Path, fields: str, fault: str) -> None:
    file = tmp_path / "routes.toml"
    file.write_text(table("http://127.0.0.1:1", "/old") + fields + "\n")
    with pytest.raises(TableError, match=rf"routes.toml:\d+: {fault}"):
        read_table(file, {}.get)
