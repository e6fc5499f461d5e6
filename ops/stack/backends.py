"""The database and the store: those configured, or the embedded ones; migrated, with a role for each service."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from common import settings
from ops.embedded import Postgres, Valkey
from ops.stack import credentials
from ops.stack.configuration import Configuration, where
from ops.stack.events import Story
from ops.stack.preparation import Preparation
from ops.stack.servers import KeptServer


class Backends:
    """`servers` are the embedded ones that this stack keeps, by title."""

    def __init__(self, configuration: Configuration, story: Story) -> None:
        self._configuration = configuration
        self._story = story
        self._secrets: Mapping[str, str] = {}
        self._role_urls: dict[str, str] = {}
        self.servers: list[KeptServer] = []

    async def start(self, secrets: Mapping[str, str]) -> None:
        """Starts the embedded servers that are needed. Raises StackError."""
        var = self._configuration.place.var
        self._secrets = secrets
        if self._configuration.uses_embedded_postgres:
            await self._start(KeptServer(Postgres(var, secrets)))
        if self._configuration.uses_embedded_valkey:
            await self._start(KeptServer(Valkey(var, secrets)))

    async def _start(self, server: KeptServer) -> None:
        with self._story.step(server.title) as step:
            self.servers.append(server)
            await server.start()
            step.note = f"127.0.0.1:{server.server.port}"

    def renew(self, secrets: Mapping[str, str]) -> None:
        """For what is prepared from now on; the servers go on with the passwords they have."""
        self._secrets = secrets

    async def prepare(self, preparation: Preparation) -> None:
        """Migrations, roles, the first admin. Raises StackError with what failed."""
        owner = self._owner_url
        with self._story.step("Migrations") as step:
            applied = await preparation.call("migrate", owner_url=owner)
            step.note = f"{', '.join(applied)} applied" if applied else "up to date"
            if not self._configuration.uses_embedded_postgres:
                step.note += f", database at {where(owner, 5432)}"
            if self._configuration.uses_embedded_postgres or self._configuration.has_owner:
                self._role_urls = await preparation.call(
                    "make_roles",
                    owner_url=owner,
                    service_url=self._configuration.database_url,
                    passwords={name: self._secrets[name] for name in ("AUTH_DB_PASSWORD", "CORE_DB_PASSWORD")},
                )
        if not self._configuration.is_production:
            await self._make_admin(preparation)

    async def _make_admin(self, preparation: Preparation) -> None:
        with self._story.step("First admin") as step:
            admin = await preparation.call(
                "make_admin",
                database_url=self._role_urls.get("AUTH_DATABASE_URL", self._owner_url),
                email=self._configuration.admin_email,
                pepper=self._secrets["KEY_PEPPER"],
            )
            if admin is not None:
                credentials.hold(self._configuration.place, admin)
            step.note = f"{admin['email']} made" if admin else "there already"

    def environ(self) -> dict[str, str]:
        """What the services are started with: ours, and the URLs that nobody else knows. Their own URLs win."""
        composed = dict(self._configuration.environ)
        for name, url in self._role_urls.items():
            if not settings.variable(name, composed):
                composed[name] = self._where_it_is_now(url)
        for server in self.servers:
            if isinstance(server.server, Valkey):
                composed["REDIS_URL"] = server.url
        return composed

    async def stop(self) -> None:
        await asyncio.gather(*(server.stop() for server in self.servers))

    def _where_it_is_now(self, url: str) -> str:
        """An embedded server that came back may have another port than the role's URL was made for."""
        if not self._configuration.uses_embedded_postgres:
            return url
        address = urlsplit(self._owner_url).netloc.rpartition("@")[2]
        parts = urlsplit(url)
        return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{address}").geturl()

    @property
    def _owner_url(self) -> str:
        if self._configuration.owner_url is not None:
            return self._configuration.owner_url
        return next(server.url for server in self.servers if isinstance(server.server, Postgres))
