"""What is measured side by side. One module a peer; each says in a sentence what it does with a request."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from ops.bench.issuer import Issuer
from ops.bench.processes import Running

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every peer is given: an upstream, a store, an issuer, a folder of its own."""

    folder: Path
    port: int
    upstream_port: int
    redis_url: str
    issuer: Issuer
    workers: int = 1
    limit: int = 1_000_000
    window_seconds: int = 1

    @property
    def access_log(self) -> Path:
        return self.folder / "access.log"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """`algorithm` is that of the tokens it verifies, None for one that has no policy.

    `run` raises Unavailable where the machine cannot have it. `is_exact` promises a limit that holds over two workers.
    """

    name: str
    does: str
    run: Callable[[Setting], AbstractContextManager[Running]]
    algorithm: str | None = None
    is_exact: bool = False
    has_log: bool = False


def rendered(template: str, into: Path, **values: Any) -> Path:
    """The template beside this module, filled in, as a file."""
    into.write_text(_TEMPLATES.get_template(template).render(**values))
    return into
