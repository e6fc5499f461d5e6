"""docs/security-review.md: each line of the lists names a check that exists, and no check is missing from them."""

import ast
import re

from tests.architecture.sources import ROOT

DOCUMENT = (ROOT / "docs" / "security-review.md").read_text()
# Said only where the thing itself is absent or instead of another; its line is that one's.
VARIANTS = frozenset({"Store TLS"})


def named_in_lists() -> set[str]:
    lists = DOCUMENT.partition("## The lists, line by line")[2]
    cells = [line.split("|")[2] for line in lists.splitlines() if line.startswith("| ") and "---" not in line]
    texts = [re.split(r";|`|\[|\(", cell)[0] for cell in cells if cell.strip() != "check"]
    return {name.strip() for text in texts for name in text.split(",") if name.strip()}


def reported() -> set[str]:
    """The first argument of every `Finding(...)`, and of what makes one, in the checks."""
    found = {"Port 80", "Port 443", "Key of auth", "Key of core"}  # put together at run time
    for path in (ROOT / "ops" / "stack" / "doctor").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                arguments = node.args[1:2] if node.func.id == "_units" else node.args[:1]
                if node.func.id in ("Finding", "_gathered", "_units"):
                    found |= {str(a.value) for a in arguments if isinstance(a, ast.Constant)}
    return found - {"Services"}  # of the doctor without --production


def test_every_line_names_a_check_that_exists() -> None:
    assert len(named_in_lists()) > 40
    assert named_in_lists() - reported() == set()


def test_every_check_stands_in_a_list() -> None:
    assert reported() - named_in_lists() - VARIANTS == set()
