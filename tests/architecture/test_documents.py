"""The documents name only what exists, and nothing that has a place in them is missing."""

import re
from pathlib import Path

import click
import pytest

from ops.cli import cli
from tests.architecture.sources import PACKAGES, ROOT, python_files

TOP = (*PACKAGES, "tests", "docs")
DOCUMENTS = sorted(path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()

# Named in a document, made by its reader: `edge/routes.d/` for their services, modules in the examples.
OF_THE_READER = re.compile(r"edge/routes\.d(/.*)?|core_service/modules/notes(/.*)?")


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def paths_named(text: str) -> list[str]:
    """Everything in code marks that is a path of this project: `edge/handler.py`, `docs/`, `pyproject.toml`."""
    marked = re.findall(r"`([\w.-]+(?:/[\w.-]*)*)`", without_blocks(text))
    files = r"[\w.-]+\.(?:py|toml|md|lua|lock)|docker-compose\.yml|\.env\.example|Makefile|Dockerfile"
    is_path = [name.partition("/")[0] in TOP and "/" in name for name in marked]
    return [name for name, below in zip(marked, is_path, strict=True) if below or re.fullmatch(files, name)]


def exists(name: str, document: Path) -> bool:
    """A path from the root or the document's folder; a name alone is a kind of file, of which there must be one."""
    if any((base / name).exists() for base in (ROOT, document.parent)):
        return True
    return "/" not in name and any(path.name == name for path in python_files())


def commands() -> set[str]:
    context = click.Context(cli)
    words = {word for document in DOCUMENTS for word in re.findall(r"`gatehouse ([a-z]+)", document.read_text())}
    return {word for word in words if cli.get_command(context, word) is not None}


def links(text: str) -> list[str]:
    return [target for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", without_blocks(text)) if "://" not in target]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_path_in_a_document_exists(document: Path) -> None:
    named = [name for name in paths_named(document.read_text()) if not OF_THE_READER.fullmatch(name)]
    assert [name for name in named if not exists(name, document)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_in_a_document_leads_somewhere(document: Path) -> None:
    assert [target for target in links(document.read_text()) if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_in_a_document_exists(document: Path) -> None:
    present = "\n".join(line for line in document.read_text().splitlines() if "not yet (" not in line)
    assert set(re.findall(r"`gatehouse ([a-z]+)", present)) - commands() == set()


def test_commands_that_are_to_come_are_not_there_yet() -> None:
    text = (ROOT / "docs" / "coming-from.md").read_text()
    later = {
        name for line in text.splitlines() if "not yet (" in line for name in re.findall(r"`gatehouse ([a-z]+)", line)
    }
    assert later
    assert later & commands() == set()


def test_architecture_names_every_package() -> None:
    packages = [
        folder.relative_to(ROOT).as_posix() + "/"
        for top in PACKAGES
        for folder in sorted((ROOT / top).iterdir())
        if (folder / "__init__.py").exists()
    ]
    assert [package for package in packages if package not in ARCHITECTURE] == []


def test_paths_are_recognised() -> None:
    named = paths_named("`edge/handler.py`, `common/limits/`, `Makefile`, `/internal/`, `var/run/`, `a.b`, `store.py`")
    assert named == ["edge/handler.py", "common/limits/", "Makefile", "store.py"]
