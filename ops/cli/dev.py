"""`gatehouse dev`: the stack, reloading what changes."""

import click


@click.command()
def command() -> None:
    """Start the stack as `up` does, and replace a service's workers when its source changes.

    A change that does not start keeps the old workers, and the reason is shown.
    """
    from ops.cli import starting  # noqa: PLC0415

    starting.here(watches=True)
