"""Which folders hold migrations."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path


def shipped_locations(modules: Iterable[str] = ()) -> dict[str, Path]:
    """Branch name → folder: auth, core, every shipped module enabled or not, and third-party ones among `modules`.

    Modules are named as in MODULES: `expenses` is shipped, `acme.billing` is somebody's package. Folders that exist.
    """
    found = {"auth": _package("auth_service"), "core": _package("core_service")}
    shipped = _package("core_service") / "modules"
    found |= {package.parent.name: package.parent for package in sorted(shipped.glob("*/__init__.py"))}
    found |= {name.rpartition(".")[2]: _package(name) for name in modules if "." in name}
    return {branch: folder / "migrations" for branch, folder in found.items() if (folder / "migrations").is_dir()}


def _package(name: str) -> Path:
    """A package's folder; a missing one is left to the core service to complain about, in its own check."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        spec = None
    locations = spec.submodule_search_locations if spec else None
    return Path(locations[0]) if locations else Path("/nonexistent")
