"""Which environment variables the code reads: its settings classes, and whatever else looks one up by name."""

import ast
import re
from collections.abc import Iterator

from auth_service.settings import AuthSettings
from common.settings import Settings, names
from core_service.settings import CoreSettings
from edge.settings import EdgeSettings
from ops import secrets
from tests.architecture.sources import parsed

CLASSES: tuple[type[Settings], ...] = (EdgeSettings, AuthSettings, CoreSettings)

# Told by our own processes to their children, or by the service manager; nobody sets them by hand.
BETWEEN_PROCESSES = frozenset(
    {
        "BENCH_SETTING",
        "GATEHOUSE_CHANNEL_FD",
        "GATEHOUSE_LAME_DUCK_SECONDS",
        "GATEHOUSE_LISTEN_FDS",
        "GATEHOUSE_PROTOCOL",
        "GATEHOUSE_SHUTDOWN_SECONDS",
        "GATEHOUSE_WORKER",
        "GATEHOUSE_WORKERS",
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    }
)
_LOOKUPS = frozenset({"get", "pop", "getenv", "variable"})
_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def settings_names() -> dict[str, tuple[str, ...]]:
    """Variable → its aliases, over all settings classes."""
    found: dict[str, tuple[str, ...]] = {}
    for cls in CLASSES:
        for preferred, *aliases in names(cls).values():
            found[preferred] = tuple(dict.fromkeys([*found.get(preferred, ()), *aliases]))
    return found


def read_by_name() -> set[str]:
    """The variables that code outside of the settings classes looks up."""
    found = {name for _, tree in parsed() for node in ast.walk(tree) for name in _looked_up(node)}
    return found | set(secrets.NAMES)


def all_read() -> set[str]:
    """Every variable that has an effect, under any of its names."""
    settings = {name for preferred, aliases in settings_names().items() for name in (preferred, *aliases)}
    return (settings | read_by_name()) - BETWEEN_PROCESSES


def _looked_up(node: ast.AST) -> Iterator[str]:
    """`environ.get("A")`, `reader.get("A", "B")`, `os.environ["A"]`, `"A" in os.environ`."""
    candidates: list[ast.expr] = []
    if isinstance(node, ast.Call) and _called(node.func) in _LOOKUPS:
        candidates = node.args
    elif isinstance(node, ast.Subscript) and "environ" in ast.unparse(node.value):
        candidates = [node.slice]
    elif isinstance(node, ast.Compare) and "environ" in ast.unparse(node.comparators[0]):
        candidates = [node.left]
    for candidate in candidates:
        text = candidate.value if isinstance(candidate, ast.Constant) else None
        if isinstance(text, str) and _NAME.fullmatch(text):
            yield text


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
