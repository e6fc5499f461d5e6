"""Reads the credential of a request and asks who it belongs to."""

from common import api_keys
from common.errors import BadRequest, Unauthorized
from edge.exchange import Exchange
from edge.identity.caller import Caller
from edge.identity.keys import Keys
from edge.identity.tokens import Tokens
from edge.policies.handshake import bearer_subprotocol
from edge.policies.limiting import Limiting


class Authentication:
    def __init__(self, tokens: Tokens, keys: Keys, limiting: Limiting) -> None:
        self._tokens = tokens
        self._keys = keys
        self._limiting = limiting

    async def caller(self, exchange: Exchange, requirement: str) -> Caller | None:
        """The caller, or None where the route lets anonymous ones in.

        An offered credential must be good on `optional` routes too. Raises Unauthorized, TokenExpired, or
        ServiceUnavailable when the credential cannot be judged, TooManyRequests for an address that guesses.
        """
        if requirement == "none":
            return None
        offered = exchange.head.authorization
        if not offered and exchange.route is not None and exchange.route.websocket:
            offered = bearer_subprotocol(exchange.request)
        if not offered:
            if requirement == "required":
                raise Unauthorized
            return None
        if len(offered) > 1:
            raise BadRequest("More than one Authorization header")
        scheme, _, credential = offered[0].partition(" ")
        scheme, credential = scheme.lower(), credential.strip()
        if scheme == "apikey" or (scheme == "bearer" and credential.startswith(api_keys.PREFIX)):
            return self._keys.remembered(credential) or await self._look_up(exchange, credential)
        if scheme == "bearer":
            return await self._tokens.caller(credential)
        raise Unauthorized("Use `Authorization: Bearer <token>` or `Authorization: ApiKey <key>`")

    async def _look_up(self, exchange: Exchange, key: str) -> Caller:
        # An address whose refused credentials have used up its limit asks nothing of the auth service any more.
        self._limiting.require_not_refused(exchange)
        return await self._keys.resolve(key)
