"""Who signs the tokens of the bench, and the stand-in of the auth service that the edge asks for its key.

The real auth service is left out so that 10,000 users cost no 10,000 password hashes; the edge cannot tell.
"""

import base64
import hashlib
import hmac
import json
import sys
import time
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KID = "bench"
_LIFETIME_SECONDS = 4 * 3600


class Issuer:
    """Signs in Ed25519, as the auth service does, and in HS256 for what cannot verify that."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.generate()
        self.shared_secret = base64.b64encode(self._private.private_bytes_raw()).decode()
        raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
        self.public_key = self._private.public_key().public_bytes(*raw)

    @property
    def jwk(self) -> dict[str, str]:
        encoded = base64.urlsafe_b64encode(self.public_key).rstrip(b"=").decode()
        return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": KID, "x": encoded}

    def token(self, algorithm: str, user: int = 0) -> str:
        """Of the user with this number; `algorithm` is EdDSA or HS256."""
        key: Any = self._private if algorithm == "EdDSA" else self.shared_secret
        return jwt.encode(_claims(user), key, algorithm, headers={"typ": "at+jwt", "kid": KID})


def forged(token: str) -> str:
    """The same claims under a signature that somebody without the key made up."""
    signed, _, signature = token.rpartition(".")
    # As long as the true one: to be refused for what it says, not for its form.
    made_up = hmac.digest(b"no key", signed.encode(), hashlib.sha512)[: len(signature) * 3 // 4]
    return f"{signed}.{base64.urlsafe_b64encode(made_up).rstrip(b'=').decode()}"


def _claims(user: int) -> dict[str, Any]:
    now = int(time.time())
    names = {name: str(uuid5(NAMESPACE_OID, f"{name} {user}")) for name in ("sub", "sid", "jti", "org")}
    rest = {"role": "user", "tier": "free", "ver": 1, "iat": now, "exp": now + _LIFETIME_SECONDS}
    return {"iss": "gatehouse", "aud": "gatehouse-api", **names, **rest}


def create_app(jwk: dict[str, str]) -> web.Application:
    """What the edge asks the auth service: its own keys, API keys, and what it has revoked (nothing)."""

    async def keys(_: web.Request) -> web.Response:
        return web.json_response({"keys": [jwk]})

    async def revocations(_: web.Request) -> web.Response:
        return web.json_response({"success": True, "data": {"items": [], "latest": 0}})

    async def resolve(request: web.Request) -> web.Response:
        """Any key is good, and each is somebody's."""
        key = (await request.json())["key"]
        ids = {name: str(uuid5(NAMESPACE_OID, f"{name} {key}")) for name in ("user", "org", "key")}
        rest: dict[str, Any] = {"role": "user", "tier": "free", "permissions": [], "limit": None, "expires_at": None}
        return web.json_response({"success": True, "data": {**ids, **rest}})

    app = web.Application()
    app.router.add_post("/internal/keys/resolve", resolve)
    app.router.add_get("/.well-known/jwks.json", keys)
    app.router.add_get("/internal/revocations", revocations)
    return app


if __name__ == "__main__":
    web.run_app(create_app(json.loads(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), print=None)
