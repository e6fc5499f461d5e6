"""docs/errors.md has a paragraph for every error that a client can see, and for no other."""

import re

import auth_service.app  # noqa: F401 - whatever errors the services define are then known
import core_service.app  # noqa: F401
import edge.app  # noqa: F401
from common.errors import ApiError
from tests.architecture.sources import PACKAGES, ROOT

DOCUMENT = (ROOT / "docs" / "errors.md").read_text()


def api_errors() -> dict[str, type[ApiError]]:
    """Name as clients read it → the class that introduces it."""
    found: dict[str, type[ApiError]] = {}
    pending = [ApiError]
    while pending:
        error = pending.pop()
        pending += error.__subclasses__()
        if error.__module__.partition(".")[0] in PACKAGES:
            found.setdefault(error.error, error)
    return found


def paragraphs() -> dict[str, str]:
    """Heading → the text below it."""
    return dict(re.findall(r"^## (\S+)\n\n(.+?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))


def test_every_error_has_a_paragraph_and_no_paragraph_is_stale() -> None:
    assert sorted(paragraphs()) == sorted(api_errors())
    assert len(re.findall(r"^## ", DOCUMENT, re.MULTILINE)) == len(paragraphs())


def test_paragraphs_begin_with_the_status_clients_get() -> None:
    begins = {name: text[:3] for name, text in paragraphs().items()}
    assert begins == {name: str(error.status) for name, error in api_errors().items()}
