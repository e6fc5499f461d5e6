"""The first admin of a production database: made once, shown once, written nowhere."""

import os
import time
from collections.abc import Mapping

from common import settings
from ops.stack import prepare, probe
from ops.stack.configuration import Configuration, read
from ops.stack.errors import StackError

READY_SECONDS_MAX = 120
_POLL_SECONDS = 0.5


def first_admin(email: str | None = None, environ: Mapping[str, str] | None = None) -> dict[str, str] | None:
    """`{"email", "password", "api_key"}`; None when the database has users. Raises StackError."""
    found = read(environ)
    url = settings.variable("AUTH_DATABASE_URL", found.environ) or found.owner_url
    pepper = settings.variable("KEY_PEPPER", found.environ)
    if not url or not pepper:
        missing = "DATABASE_URL" if not url else "KEY_PEPPER"
        raise StackError(f"{missing} must be set, here or in {_where(found)}")
    try:
        return prepare.make_admin(url, email or found.admin_email, pepper)
    except (OSError, TimeoutError) as error:
        raise StackError(f"the database does not answer: {error}") from None


def wait_until_ready(url: str, seconds_max: float = READY_SECONDS_MAX) -> list[str]:
    """What is not healthy of a stack that is ready. Raises StackError when it is not ready in time."""
    deadline = time.monotonic() + seconds_max
    while True:
        status, body = probe.fetch(f"{url}/health/ready")
        if status == 200:
            return probe.unhealthy(body)
        if time.monotonic() > deadline:
            why = ", ".join(probe.unhealthy(body)) or ("nothing answers" if not status else f"status {status}")
            raise StackError(
                f"the stack is not ready after {seconds_max:g} s ({why}): `systemctl --failed` and "
                "`journalctl -u 'gatehouse-*' -n 50` say why"
            )
        time.sleep(_POLL_SECONDS)


def _where(found: Configuration) -> str:
    return os.fspath(found.place.var / "secrets")
