"""An upstream that costs as little as it can: `python -m ops.bench.upstream PORT`."""

import sys

from aiohttp import web

BODY = b'{"items":[' + b",".join(b'{"id":%d,"name":"constant"}' % number for number in range(14)) + b"]}"


async def _answer(_request: web.BaseRequest) -> web.Response:
    return web.Response(body=BODY, content_type="application/json")


async def _serve(port: int) -> None:
    import asyncio  # noqa: PLC0415

    runner = web.ServerRunner(web.Server(_answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1])))
