"""Whatever is sent to whichever route, the answer is a 4xx in the envelope."""

from uuid import uuid4

from auth_service.app import create_app
from auth_service.settings import AuthSettings
from common.routes import ROUTES
from common.worker import Worker
from tests.auth_service.client import cheap_hasher

FIELDS = {
    "/api/v1/auth/register": {
        "email": "b@example.com",
        "password": "correct horse battery",
        "username": "b_b",
        "full_name": "B",
    },
    "/api/v1/auth/login": {"email": "b@example.com", "password": "x"},
    "/api/v1/auth/refresh": {"refreshToken": "rt_x"},
    "/api/v1/auth/logout": {"refreshToken": "rt_x"},
    "/api/v1/me": {"username": "b_b", "full_name": "B"},
    "/api/v1/me/password": {"currentPassword": "x", "newPassword": "correct horse battery"},
    "/api/v1/api-keys": {"name": "k", "scopes": ["a:read"], "expiresAt": "2999-01-01T00:00:00Z"},
    "/internal/keys/resolve": {"key": "sk_live_x"},
}
DEEP = '{"a":' * 5000 + "1" + "}" * 5000
BODIES = {
    b"": 400,
    b"{": 400,
    b"\xff\xfe": 400,
    b'{"email": "\\ud800"}': 400,
    b"[]": 422,
    b"null": 422,
    b"1": 422,
    b'"text"': 422,
    b'{"nonsense": 1}': 422,
    b'{"__proto__": {}, "": 0}': 422,
}
VALUES = [
    None,
    True,
    0,
    -1.5,
    10**30,
    "",
    "\0",
    "a\0b",
    "x" * 9000,
    [],
    ["x"],
    [[]],
    {},
    {"a": {}},
    "\u202e",
    "é",
    "🔥",
]


def with_bodies():
    app = create_app(AuthSettings(), runtime=Worker(), hasher=cheap_hasher())
    return [(route.method, route.path) for route in app[ROUTES] if route.body is not None]


def test_every_route_with_a_body_is_covered():
    assert {path for _, path in with_bodies()} == FIELDS.keys()


async def test_malformed_bodies_are_4xx(auth):
    token = await auth.signed_in()
    for method, path in with_bodies():
        await send_malformed(auth, method, path, token)


async def send_malformed(auth, method, path, token):
    for raw, status in BODIES.items():
        if raw == b"" and path.endswith("/logout"):
            continue
        answer = await auth.call(method, path, raw=raw, who=token)
        assert (answer.status, answer.body["success"]) == (status, False), raw
    deep = await auth.call(method, path, raw=DEEP.encode(), who=token)
    assert deep.status in (400, 422)
    huge = await auth.call(method, path, raw=b'{"a": "' + b"x" * 70_000 + b'"}', who=token)
    assert (huge.status, huge.error) == (413, "PayloadTooLarge")
    typed = await auth.call(method, path, raw=b"{}", who=token, headers={"Content-Type": "text/plain"})
    assert (typed.status, typed.error) == (415, "UnsupportedMediaType")


async def test_wrong_values_are_never_500(auth):
    token = await auth.signed_in()
    for method, path in with_bodies():
        await send_wrong_values(auth, method, path, token)


async def send_wrong_values(auth, method, path, token):
    for field in FIELDS[path]:
        for number, value in enumerate(VALUES):
            # An address of its own for each, or the waits after failures would answer for the rest.
            address = f"2001:db8:{number}::1"
            answer = await auth.call(method, path, FIELDS[path] | {field: value}, who=token, address=address)
            assert answer.status < 500, (field, value, answer.body)
            if isinstance(value, str) and "\0" in value:
                assert "Must not contain the NUL character" in answer.body["errors"][field]


async def test_ids_that_are_none_are_not_found(auth):
    token = await auth.signed_in()
    for text in ("x", "0", "%00", "..%2f..", "a" * 3000, str(uuid4())):
        for method in ("GET", "DELETE"):
            answer = await auth.call(method, f"/api/v1/api-keys/{text}", who=token)
            assert answer.status in (400, 404), text


async def test_unknown_paths_and_methods_are_in_the_envelope(auth):
    assert (await auth.call("GET", "/api/v1/nothing")).error == "NotFound"
    answer = await auth.call("DELETE", "/api/v1/auth/login")
    assert (answer.status, answer.error, answer.headers["Allow"]) == (405, "MethodNotAllowed", "POST")
