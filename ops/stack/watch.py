"""Reloads services when their source changes: development only."""

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from watchfiles import DefaultFilter, awatch

from ops.stack.events import Story
from ops.stack.place import MODULES, SERVICES

Reload = Callable[[Iterable[str]], Awaitable[dict[str, str | None]]]
_SOURCE = (".py", ".toml", ".sql", ".lua", ".html", ".css", ".js", ".txt")
ROOT = Path(__file__).resolve().parents[2]
_FILES_SHOWN = 3


class SourceFilter(DefaultFilter):
    """What a service is made of; editors' swap files, caches and the like are not."""

    def __call__(self, change: object, path: str) -> bool:
        return path.endswith(_SOURCE) and super().__call__(change, path)  # type: ignore[arg-type]


def source_folders(root: Path = ROOT) -> list[Path]:
    return [root / package for package in ("common", *MODULES.values())]


def concerned(paths: Iterable[str], root: Path = ROOT) -> list[str]:
    """The services that are made of these files; `common` is in all of them."""
    packages = {Path(path).relative_to(root).parts[0] for path in paths}
    return [name for name in SERVICES if packages & {"common", MODULES[name]}]


async def watch(reload: Reload, story: Story, *, root: Path = ROOT) -> None:
    """Until cancelled. What changes while a reload is under way is the next one."""
    async for changes in awatch(*source_folders(root), watch_filter=SourceFilter()):
        paths = sorted({path for _, path in changes})
        names = concerned(paths, root)
        story.say(f"{_shown(paths, root)} changed: reloading {', '.join(names)}")
        for name, refusal in (await reload(names)).items():
            story.say(refusal or f"{name} reloaded")


def _shown(paths: list[str], root: Path) -> str:
    shown = [str(Path(path).relative_to(root)) for path in paths[:_FILES_SHOWN]]
    more = len(paths) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
