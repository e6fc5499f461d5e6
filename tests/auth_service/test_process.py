"""The service as it really runs: a process under its supervisor."""

import asyncio
import os
import sys

import aiohttp


async def test_service_takes_what_the_edge_lets_pass_and_stops_when_told(environ, unused_tcp_port):
    address = {"AUTH_PORT": str(unused_tcp_port), "AUTH_WORKERS": "1", "LAME_DUCK_SECONDS": "0"}
    nothing_else = {"GATEHOUSE_VAR": "/nonexistent", "GATEHOUSE_ENV_FILE": "/nonexistent"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "auth_service", env=os.environ | environ | nothing_else | address
    )
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession(f"http://127.0.0.1:{unused_tcp_port}") as session:
            assert await first_answer(session, {"X-Long": "a" * 16_384}) == 200
            process.terminate()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def first_answer(session: aiohttp.ClientSession, headers: dict[str, str]) -> int:
    while True:
        try:
            async with session.get("/health", headers=headers) as answer:
                return answer.status
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.05)  # until it listens
