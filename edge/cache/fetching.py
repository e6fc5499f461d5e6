"""Asks the upstream for what is not kept, and keeps it when it may be."""

from common import http1
from common.errors import BadGateway, GatewayTimeout
from common.http1 import Response
from edge.cache.answers import kept_headers
from edge.cache.keys import Key, variant_of
from edge.cache.rules import age, seconds_kept, varying_names
from edge.cache.store import Entry, Store
from edge.exchange import Exchange
from edge.policies.compression import gzip, is_compressible
from edge.upstream.forward import Forwarding

# Asked for without them, an answer is whole and the same for all: conditions and codings are met here.
_WITHHELD = frozenset({b"accept-encoding", b"if-none-match", b"if-modified-since"})

# An answer that is kept, or one that cannot be and is for who asked.
Fetched = Entry | Response


class Fetching:
    def __init__(self, forwarding: Forwarding, store: Store) -> None:
        self._forwarding = forwarding
        self._store = store

    async def run(self, exchange: Exchange, key: Key) -> Fetched:
        """Raises what `Forwarding.send` does, also when the answer breaks off while it is collected."""
        response = await self._forwarding.send(exchange, _WITHHELD)
        try:
            fetched = await self._judged(exchange, key, response)
        except BaseException:
            response.close()
            raise
        if isinstance(fetched, Entry):
            response.close()
        return fetched

    async def _judged(self, exchange: Exchange, key: Key, response: Response) -> Fetched:
        rules = key.address.rules
        seconds = seconds_kept(rules, response.status, response.headers)
        if seconds:
            chunks, is_whole = await _collected(response, rules.bytes_max)
            if is_whole:
                return await self._keep(exchange, key, response, b"".join(chunks), seconds)
            response = _Replayed(response, chunks)
        if response.status == 200:
            self._remember_none(exchange, key)
        return response

    async def _keep(self, exchange: Exchange, key: Key, response: Response, body: bytes, seconds: float) -> Entry:
        assert exchange.route is not None
        packs = exchange.route.compresses and is_compressible(response, body)
        gzipped = await gzip(body) if packs else None
        now, varying = self._store.clock(), varying_names(key.address.rules, response.headers) or ()
        entry = Entry(
            reason=response.reason,
            headers=kept_headers(response.headers),
            body=body,
            gzipped=gzipped,
            born_at=now - age(response.headers),
            expires_at=now + seconds,
            varying=varying,
            variant=variant_of(exchange.request.raw_headers, varying),
        )
        self._store.put(key, entry)
        return entry

    def _remember_none(self, exchange: Exchange, key: Key) -> None:
        """Who asks next need not wait for an answer that is not for them."""
        varying = self._store.varying(key)
        variant = variant_of(exchange.request.raw_headers, varying)
        if self._store.find(key, variant) is None:
            self._store.put(key, Entry.none(varying, variant, self._store.clock(), key.address.rules.seconds))


async def _collected(response: Response, bytes_max: int) -> tuple[list[bytes], bool]:
    """What has come of the body, and whether that is all; more than `bytes_max` is left to come."""
    chunks, size = [], 0
    try:
        async for chunk in response:
            chunks.append(chunk)
            size += len(chunk)
            if size > bytes_max:
                return chunks, False
    except http1.IdleTimeout as error:
        raise GatewayTimeout("The upstream took too long to answer", detail=repr(error)) from error
    except http1.UpstreamError as error:
        raise BadGateway("The upstream's answer broke off", detail=repr(error)) from error
    return chunks, True


class _Replayed(Response):
    """An answer of which the beginning has been read already."""

    __slots__ = ("_begun", "_rest")

    def __init__(self, rest: Response, begun: list[bytes]) -> None:
        super().__init__(rest.status, rest.reason, rest.headers, None)
        self._begun = begun
        self._rest = rest

    async def __anext__(self) -> bytes:
        return self._begun.pop(0) if self._begun else await anext(self._rest)

    def close(self) -> None:
        self._rest.close()
