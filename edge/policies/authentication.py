"""Reads the credential of a request and asks who it belongs to."""

from common import api_keys
from common.errors import Unauthorized
from edge.exchange import Exchange
from edge.identity.caller import Caller
from edge.identity.keys import Keys
from edge.identity.tokens import Tokens


class Authentication:
    def __init__(self, tokens: Tokens, keys: Keys) -> None:
        self._tokens = tokens
        self._keys = keys

    async def caller(self, exchange: Exchange, requirement: str) -> Caller | None:
        """The caller, or None where the route lets anonymous ones in.

        An offered credential must be good on `optional` routes too. Raises Unauthorized, TokenExpired, or
        ServiceUnavailable when the credential cannot be judged.
        """
        if requirement == "none":
            return None
        header = exchange.request.headers.get("Authorization")
        if header is None:
            if requirement == "required":
                raise Unauthorized
            return None
        scheme, _, credential = header.partition(" ")
        scheme, credential = scheme.lower(), credential.strip()
        if scheme == "apikey" or (scheme == "bearer" and credential.startswith(api_keys.PREFIX)):
            return await self._keys.caller(credential)
        if scheme == "bearer":
            return await self._tokens.caller(credential)
        raise Unauthorized("Use `Authorization: Bearer <token>` or `Authorization: ApiKey <key>`")
