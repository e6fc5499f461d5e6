"""`gatehouse restart`: new workers for old."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ops.stack.place import Place

_SECONDS_MAX = 240


@click.command()
@click.argument("service", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(service: str | None, as_json: bool) -> None:
    """Replace the workers of all services, or of SERVICE (edge, auth, core), without losing a request.

    New code and changed settings files take effect. When they are refused, the old workers go on and the reason
    is shown.
    """
    from ops.cli.output import say  # noqa: PLC0415
    from ops.stack.control import ask  # noqa: PLC0415
    from ops.stack.errors import StackError  # noqa: PLC0415
    from ops.stack.place import MODULES, SERVICES, Place  # noqa: PLC0415

    names = {**{name: name for name in SERVICES}, **{module: name for name, module in MODULES.items()}}
    if service is not None and service not in names:
        raise click.BadParameter(f"{service} is none of {', '.join(SERVICES)}", param_hint="SERVICE")
    place = Place.find()
    answer = ask(place, "restart", timeout=_SECONDS_MAX, service=names[service] if service else None)
    if answer is None:
        answer = _by_systemd(place, [names[service]] if service else list(SERVICES))
    if answer is None:
        raise StackError(f"nothing is running over {place.var}")
    say(as_json, f"{', '.join(answer['reloaded'])}: new workers are serving", **answer)


def _by_systemd(place: "Place", services: list[str]) -> dict[str, Any] | None:
    """One after the other, each waited for; None where systemd keeps none of them."""
    from ops.release.services import Systemd  # noqa: PLC0415
    from ops.stack import systemd  # noqa: PLC0415

    if systemd.status(place, "") is None:
        return None
    for name in services:
        Systemd().replace(name)
    return {"reloaded": services}
