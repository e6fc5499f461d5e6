"""`gatehouse alert`: tries the hook, and is what systemd calls when a unit fails."""

import click


@click.command()
@click.argument("subject")
@click.argument("detail", default="")
def command(subject: str, detail: str) -> None:
    """Send SUBJECT and DETAIL to what ALERT_HOOK names; exit status 1 when it is not set or does not take them."""
    from ops.alerts import NOT_SET, AlertError, deliver  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415

    try:
        if not deliver(subject, detail):
            raise StackError(NOT_SET)
    except AlertError as error:
        raise StackError(str(error)) from None
    click.echo("delivered")
