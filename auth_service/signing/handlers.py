"""The public keys, for whoever verifies tokens."""

from aiohttp import web

from auth_service.signing.keyring import KEYRING
from common import json
from common.routes import Access, Route

_CACHED_SECONDS = 300


async def get_jwks(request: web.Request) -> web.Response:
    """RFC 7517, bare: what libraries expect."""
    keys = [key.jwk() for key in await request.app[KEYRING].public()]
    return web.Response(
        body=json.dumps({"keys": keys}),
        content_type="application/json",
        headers={"Cache-Control": f"public, max-age={_CACHED_SECONDS}"},
    )


routes = [
    Route(
        method="GET",
        path="/.well-known/jwks.json",
        handler=get_jwks,
        summary="The public keys that access tokens are signed with (JWKS)",
        permission=Access.PUBLIC,
    ),
]
