"""A caller of the core service, as the edge would introduce them."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient

from common import json
from common.permissions import ROLES

SERVICE_KEY = "core-key-of-the-tests"

Client = TestClient[web.Request, web.Application]


@dataclass
class Caller:
    """One person within one organization, as the edge introduces them."""

    client: Client
    role: str = "user"
    user: UUID | None = field(default_factory=uuid4)
    org: UUID = field(default_factory=uuid4)

    @property
    def headers(self) -> dict[str, str]:
        return {
            "Authorization": f"ApiKey {SERVICE_KEY}",
            "X-Gatehouse-Org": str(self.org),
            "X-Gatehouse-Role": self.role,
            "X-Gatehouse-Permissions": " ".join(sorted(ROLES[self.role])),
        } | ({"X-Gatehouse-User": str(self.user)} if self.user else {})

    async def send(self, method: str, path: str, **given: Any) -> ClientResponse:
        """The whole answer, read; `headers` come on top of the identity."""
        headers = self.headers | given.pop("headers", {})
        response = await self.client.request(method, f"/api/v1{path}", headers=headers, **given)
        await response.read()
        return response

    async def data(self, method: str, path: str, status: int = 200, **given: Any) -> Any:
        """`data` of an answer that must have `status`."""
        response = await self.send(method, path, **given)
        body = await response.json()
        assert response.status == status, body
        assert body["success"] is True
        return body["data"]

    async def refused(self, status: int, method: str, path: str, **given: Any) -> dict[str, Any]:
        """The error body of an answer that must have `status`, its shape checked."""
        response = await self.send(method, path, **given)
        return await error_of(response, status, method, f"/api/v1{path}".partition("?")[0])

    async def category(self, name: str = "Travel", **more: Any) -> dict[str, Any]:
        created: dict[str, Any] = await self.data("POST", "/categories", 201, json={"name": name, **more})
        return created

    async def expense(self, category_id: str, **more: Any) -> dict[str, Any]:
        body = {"amount": "25.50", "date": "2025-11-21", "category_id": category_id, **more}
        created: dict[str, Any] = await self.data("POST", "/expenses", 201, json=body)
        return created


async def error_of(response: ClientResponse, status: int, method: str, path: str) -> dict[str, Any]:
    """The envelope of an error, with every key that contracts name."""
    body: dict[str, Any] = json.loads(await response.read())
    assert response.status == status, body
    expected = {"success", "error", "message", "statusCode", "timestamp", "path", "method", "requestId"}
    assert set(body) == expected | ({"errors"} if status == 422 else set())
    assert (body["success"], body["statusCode"], body["method"], body["path"]) == (False, status, method, path)
    assert body["requestId"] == response.headers["X-Request-ID"]
    return body
