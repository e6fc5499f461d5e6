"""Bans as this machine's administrator sees and changes them, on the edge's private socket."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from common import json
from common.limits import Rule
from edge.addresses import parsed, subscriber
from edge.bans.ban_list import BanList

_SECONDS_MAX = 366 * 86_400
_BODY_BYTES_MAX = 1024


class BanAdmin:
    """`seconds` is how long a ban lasts when none are given; `rules` what is forgotten of whoever is let in again."""

    def __init__(
        self, banned: BanList, *, is_trusted: Callable[[str], bool], seconds: int, rules: Sequence[Rule]
    ) -> None:
        self._banned = banned
        self._is_trusted = is_trusted
        self._seconds = seconds
        self._rules = rules

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/bans", self._list), web.post("/bans", self._add), web.delete("/bans", self._lift)]

    async def _list(self, _request: web.Request) -> web.Response:
        items = [{"address": who, "seconds_left": math.ceil(left)} for who, left in self._banned.entries()]
        return _answer({"items": items})

    async def _add(self, request: web.Request) -> web.Response:
        """`{"address", "seconds"?}`. As JSON only, which no page of another origin can send unasked."""
        if request.content_type != "application/json":
            return _answer({"error": "the body must be application/json"}, status=422)
        try:
            address, seconds = self._wanted(json.loads(await request.content.read(_BODY_BYTES_MAX)))
        except ValueError as error:
            return _answer({"error": str(error)}, status=422)
        is_shared = await self._banned.ban(subscriber(address), seconds)
        return _answer({"address": subscriber(address), "seconds": seconds, "shared": is_shared})

    def _wanted(self, body: Any) -> tuple[str, int]:
        """Raises ValueError."""
        address = body.get("address") if isinstance(body, dict) else None
        seconds = body.get("seconds", self._seconds) if isinstance(body, dict) else None
        if not isinstance(address, str) or parsed(address) is None:
            raise ValueError(f"{address!r} is no address")
        if self._is_trusted(address):
            raise ValueError(f"{address} is a trusted proxy: banning it would ban everybody behind it")
        if type(seconds) is not int or not 0 < seconds <= _SECONDS_MAX:
            raise ValueError(f"seconds must be a whole number from 1 to {_SECONDS_MAX}")
        return address, seconds

    async def _lift(self, request: web.Request) -> web.Response:
        """`?address=`, as it was listed or as the client has it."""
        given = request.query.get("address", "").removesuffix("/64")
        if parsed(given) is None:
            return _answer({"error": f"{given!r} is no address"}, status=422)
        who = subscriber(given)
        was_banned = self._banned.seconds_left(who) > 0
        is_shared = await self._banned.lift(who, self._rules)
        return _answer({"address": who, "was_banned": was_banned, "shared": is_shared})


def _answer(body: dict[str, Any], status: int = 200) -> web.Response:
    shown = {"success": True, "data": body} if status == 200 else {"success": False, **body}
    return web.Response(body=json.dumps(shown), status=status, content_type="application/json")
