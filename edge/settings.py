"""The edge's settings. A field `edge_port` is the variable EDGE_PORT; docs are in .env.example."""

import ipaddress
from functools import cached_property
from pathlib import Path

from pydantic import AliasChoices, Field

from common.limits import Rule
from common.settings import CommaList, secret_faults
from edge.addresses import Network
from edge.route_limits import LimitTable
from edge.tiers import Tiers, read_tiers
from edge.tls.settings import TlsSettings

_BENCH_ROUTES = Path(__file__).with_name("bench.toml")


class EdgeSettings(TlsSettings):
    edge_host: str = Field("127.0.0.1", validation_alias=AliasChoices("EDGE_HOST", "API_HOST"))
    edge_port: int = Field(8080, ge=1, le=65535, validation_alias=AliasChoices("EDGE_PORT", "PORT", "API_PORT"))
    edge_admin_port: int | None = Field(None, ge=1, le=65535)
    edge_workers: int = Field(1, ge=1, le=256)
    edge_routes: Path = Path(__file__).parent / "routes.toml"
    edge_watch_seconds: float = Field(1, ge=0, le=60)
    edge_body_bytes_max: int = Field(1024 * 1024, ge=0)
    compression: bool = True
    edge_cache_bytes_max: int = Field(64 * 1024**2, ge=0)
    edge_header_seconds: float = Field(20, gt=0, le=300)
    edge_keep_alive_seconds: float = Field(75, gt=0, le=3600)
    edge_connections_max: int = Field(16_384, ge=1)
    edge_connections_per_address_max: int = Field(1024, ge=1)
    edge_requests_max: int = Field(8192, ge=1)
    edge_lag_seconds_max: float = Field(0.25, ge=0, le=60)
    bench_upstream: str = ""

    auth_port: int = Field(8081, ge=1, le=65535)
    core_port: int = Field(8082, ge=1, le=65535)
    auth_url: str = ""
    core_url: str = ""
    auth_service_key: str = ""
    core_service_key: str = ""
    redis_url: str = ""

    domains: CommaList = ()
    domain1: str = ""
    domain2: str = ""
    domain3: str = ""
    domain4: str = ""
    domain5: str = ""
    trusted_proxies: CommaList = ()
    allowed_origins: CommaList = ()

    jwt_issuer: str = "gatehouse"
    jwt_audience: str = "gatehouse-api"

    limit_general: str = ""
    limit_auth: str = "5/900"
    limit_search: str = "60/60"
    limit_email: str = "100/3600"
    limit_ai: str = "50/3600"
    rate_limit_max: int = Field(100, ge=1)
    rate_limit_window_ms: int = Field(60_000, ge=1)
    edge_limits: Path = Path(__file__).parent / "limits.toml"
    limit_shadow: CommaList = ()

    ban_failures: int = Field(10, ge=0, le=1000)
    ban_within_seconds: int = Field(600, ge=1)
    ban_seconds: int = Field(3600, ge=1)

    def faults(self) -> list[str]:
        return [*self._value_faults(), *(self._production_faults() if self.is_production else [])]

    def _value_faults(self) -> list[str]:
        found = [] if self.edge_routes.is_file() else [f"EDGE_ROUTES: {self.edge_routes} does not exist"]
        found += secret_faults(self._secrets(), is_production=self.is_production)
        found += self.tls_faults(self.hosts, self.redis_url)
        for proxy in self.trusted_proxies:
            try:
                ipaddress.ip_network(proxy, strict=False)
            except ValueError:
                found.append(f"TRUSTED_PROXIES: {proxy!r} is no address or CIDR range")
        if "*" in self.allowed_origins:
            found.append("ALLOWED_ORIGINS: `*` cannot be used with credentials; list the origins")
        return found + self._limit_faults()

    def _limit_faults(self) -> list[str]:
        found = []
        texts = self._limit_texts()
        for name, text in texts.items():
            try:
                Rule.parse(name, text)
            except ValueError as error:
                found.append(f"LIMIT_{name.upper()}: {error}")
        unknown = [name for name in self.limit_shadow if name not in texts]
        return found + [f"LIMIT_SHADOW: {name!r} is none of {', '.join(texts)}" for name in unknown]

    def _production_faults(self) -> list[str]:
        found = []
        if not self.redis_url:
            found.append("REDIS_URL: must be set in production (or EMBEDDED=true)")
        if not self.hosts:
            found.append("DOMAINS: must be set in production: the hosts served, comma-separated")
        return found

    def _secrets(self) -> dict[str, str]:
        return {"AUTH_SERVICE_KEY": self.auth_service_key, "CORE_SERVICE_KEY": self.core_service_key}

    def _limit_texts(self) -> dict[str, str]:
        general = self.limit_general or f"{self.rate_limit_max}/{self.rate_limit_window_ms / 1000:g}"
        return {
            "general": general,
            "auth": self.limit_auth,
            "search": self.limit_search,
            "email": self.limit_email,
            "ai": self.limit_ai,
        }

    @cached_property
    def limits(self) -> dict[str, Rule]:
        """Each class with its default rule."""
        return {name: Rule.parse(name, text) for name, text in self._limit_texts().items()}

    @cached_property
    def tiers(self) -> Tiers:
        """What each tier of limits.toml changes. Raises TableError."""
        return read_tiers(self.edge_limits, self.limits)

    @property
    def limit_table(self) -> LimitTable:
        return LimitTable(self.limits, self.tiers, self.limit_shadow)

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """The hosts served, lower-case; empty serves any."""
        numbered = (self.domain1, self.domain2, self.domain3, self.domain4, self.domain5)
        return tuple(dict.fromkeys(host.lower() for host in (*self.domains, *numbered) if host))

    @cached_property
    def proxies(self) -> tuple[Network, ...]:
        return tuple(ipaddress.ip_network(proxy, strict=False) for proxy in self.trusted_proxies)

    @property
    def tables_beside(self) -> tuple[Path, ...]:
        """What is in force beside the route table."""
        return (_BENCH_ROUTES,) if self.bench_upstream else ()

    @property
    def admin_socket(self) -> Path:
        return self.gatehouse_var / "run" / "edge-admin.sock"

    def upstream_variables(self) -> dict[str, str]:
        """What `env:AUTH_URL` and the like in the route table mean when the environment does not say."""
        return {
            "AUTH_URL": self.auth_url or f"http://127.0.0.1:{self.auth_port}",
            "CORE_URL": self.core_url or f"http://127.0.0.1:{self.core_port}",
            "AUTH_SERVICE_KEY": self.auth_service_key,
            "CORE_SERVICE_KEY": self.core_service_key,
        }
