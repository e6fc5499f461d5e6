"""Which passwords are refused (NIST SP 800-63B-4, 3.1.1.2): short, common, or the user's own name."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

LENGTH_MIN = 8
LENGTH_MAX = 256
_COMMON = Path(__file__).with_name("common_passwords.txt")


def weakness(password: str, personal: Iterable[str | None]) -> str | None:
    """Why `password` is refused, or None. `personal` are the user's address and names, where known."""
    folded = password.casefold()
    if folded in common_passwords():
        return "Password is too common"
    if _core(folded) in {core for word in personal if word for core in _cores(word.casefold())}:
        return "Password must not be your name or address"
    return None


@cache
def common_passwords() -> frozenset[str]:
    return frozenset(_COMMON.read_text(encoding="utf-8").split())


def _cores(word: str) -> Iterable[str]:
    """The word itself, without spaces, and of an address also what stands before the @."""
    yield from filter(None, (_core(word), _core(word.replace(" ", "")), _core(word.partition("@")[0])))


def _core(text: str) -> str:
    """Without the digits and signs that people add at the end."""
    return re.sub(r"[\W\d_]+$", "", text) or text
