"""`python -m edge.tls.order`: one order with an ACME authority, in a process of its own.

The library blocks and brings another HTTP client along; neither belongs into a worker. What is asked comes as a line of
JSON on standard input, and standard output says, a line each: `{"token", "answer"}`, which must be served before the
next line of input (empty) lets it go on, and at last `{"chain", "key"}` or `{"error"}`.
"""

import datetime
import json
import sys
from pathlib import Path
from typing import Any

import josepy
import requests
from acme import challenges, client, errors, messages
from acme.crypto_util import make_csr
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC

from edge.tls.store import write_private

_ANSWER_SECONDS = 20
_AUTHORIZE_SECONDS = 60
_FINALIZE_SECONDS = 45
_NONCES_MAX = 3


class _Network(client.ClientNetwork):
    """The library repeats a request whose nonce was refused once; an authority with several machines may need more."""

    def post(self, *arguments: Any, **options: Any) -> requests.Response:
        for _ in range(_NONCES_MAX):
            try:
                return super().post(*arguments, **options)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*arguments, **options)


def main() -> int:
    asked = json.loads(sys.stdin.readline())
    try:
        _say(_ordered(asked))
    except (errors.Error, josepy.errors.Error, requests.RequestException, OSError, ValueError) as error:
        _say({"error": sentence(error, asked["directory"])})
    return 0


def _ordered(asked: dict[str, str]) -> dict[str, str]:
    account_key = JWKEC(key=_account_key(Path(asked["account"])))
    speaking = _Network(account_key, alg=ES256, user_agent="gatehouse", timeout=_ANSWER_SECONDS)
    authority = client.ClientV2(client.ClientV2.get_directory(asked["directory"], speaking), speaking)
    _sign_in(authority, asked["email"])
    key = _pem(ec.generate_private_key(ec.SECP256R1()))
    order = authority.new_order(make_csr(key, [asked["name"]]))
    for authorization in order.authorizations:
        if authorization.body.status != messages.STATUS_VALID:
            _prove(authority, authorization, account_key)
    order = authority.poll_authorizations(order, _in(_AUTHORIZE_SECONDS))
    order = authority.finalize_order(order, _in(_FINALIZE_SECONDS))
    return {"chain": order.fullchain_pem, "key": key.decode()}


def _sign_in(authority: client.ClientV2, email: str) -> None:
    """ACME=true says yes to the authority's terms; .env.example tells."""
    asked = messages.NewRegistration.from_data(email=email, terms_of_service_agreed=True)
    try:
        authority.new_account(asked)
    except errors.ConflictError as known:
        authority.net.account = messages.RegistrationResource(body=messages.Registration(), uri=known.location)


def _prove(authority: client.ClientV2, authorization: messages.AuthorizationResource, key: JWK) -> None:
    offered = [body for body in authorization.body.challenges if isinstance(body.chall, challenges.HTTP01)]
    if not offered:
        raise errors.ClientError("the authority offers no HTTP-01 challenge")
    response, answer = offered[0].chall.response_and_validation(key)
    _say({"token": offered[0].chall.encode("token"), "answer": answer})
    if sys.stdin.readline() != "\n":
        sys.exit(1)  # nobody is there any more
    authority.answer_challenge(offered[0], response)


def _account_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Made once: an authority knows us by it."""
    if not path.exists():
        write_private(path, _pem(ec.generate_private_key(ec.SECP256R1())))
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not the key that was made for the account")  # noqa: TRY004 - a file, not a type
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _in(seconds: float) -> datetime.datetime:
    return datetime.datetime.now() + datetime.timedelta(seconds=seconds)  # noqa: DTZ005 - the library compares so


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def sentence(error: Exception, directory: str) -> str:
    """What went wrong, for a person: what the authority said of our server is worth more than its class."""
    match error:
        case errors.ValidationError():
            bodies = [body for failed in error.failed_authzrs for body in failed.body.challenges]
            details = "; ".join(str(body.error.detail) for body in bodies if body.error)
            said = f"the authority could not see our answer: {details}"
        case errors.IssuanceError():
            said = f"the authority does not issue it: {error.error.detail}"
        case errors.TimeoutError():
            said = "the authority did not decide in time"
        case messages.Error():
            said = f"the authority refuses: {error.detail} ({error.code or error.typ})"
        case requests.exceptions.SSLError():
            said = f"the certificate of {directory} is not trusted here; ACME_CA names a bundle that vouches for it"
        case requests.RequestException():
            said = f"{directory} cannot be reached ({type(error).__name__})"
        case _:
            said = str(error) or type(error).__name__
    return said


if __name__ == "__main__":
    sys.exit(main())
