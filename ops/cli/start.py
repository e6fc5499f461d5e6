"""`gatehouse start`: the whole application in one container, for platforms that run one and bring the servers."""

import sys

import click


@click.command()
def command() -> None:
    """Migrate, then run auth, core and edge until SIGTERM; logs go to standard output.

    For platforms that start one container and bring PostgreSQL and Redis: DATABASE_URL, REDIS_URL, PORT. A failed
    migration stops the start. On a machine of your own `gatehouse up` does more.
    """
    from ops.docker.start import main  # noqa: PLC0415

    sys.exit(main())
