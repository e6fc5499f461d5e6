"""Which interpreter the next worker runs under: that of the release which is current at that moment.

On a host the code is in `<home>/releases/<name>/`, each with its own `.venv`, and `<home>/current` is a link to one of
them. A parent lives through upgrades: it follows the link anew for each generation of workers, so that a reload after
the link was switched runs the new release. It follows it once for a generation, and to its end: the settings check, the
workers, and one that replaces a dead worker all run the same code, also in what they import late.

Parent and workers are of different releases then. What they say to each other (environment, inherited descriptors,
JSON lines over the channel) is PROTOCOL: a message or a variable may be added as long as either side can do without
it, anything else is a new number. A worker that does not speak its parent's number does not boot, the reload is
refused, and the service must be restarted once.
"""

import os
import sys
from pathlib import Path

PROTOCOL = 1
SPOKEN = frozenset({1})


def home(executable: str) -> Path | None:
    """`<home>` of an interpreter `<home>/releases/<name>/.venv/bin/python` or `<home>/current/.venv/bin/python`.

    None for any other, such as a checkout's or a container's.
    """
    # Not resolved: the environment's `python` is a link to the machine's.
    top = Path(os.path.normpath(executable)).parent.parent.parent
    if Path(executable).parent.parent.name != ".venv":
        return None
    found = top.parent.parent if top.parent.name == "releases" else top.parent if top.name == "current" else None
    return found if found and (found / "current").is_symlink() else None


def interpreter() -> tuple[str, ...]:
    """The words that start Python: ours, or in a release that of the current one. Raises OSError when there is none."""
    found = home(sys.executable)
    if found is None:
        return (sys.executable,)
    # -P: our working directory may be an older release, whose code would otherwise be found first.
    return str((found / "current").resolve(strict=True) / ".venv" / "bin" / "python"), "-P"


def parents_protocol() -> int:
    """What the parent of this process speaks."""
    return int(os.environ.get("GATEHOUSE_PROTOCOL", "1"))
