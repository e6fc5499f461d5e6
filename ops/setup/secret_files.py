"""The secrets directory of the machine that is set up. What is there is never replaced unless somebody says so."""

import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from common.settings import weakness
from ops.setup.machine import Machine
from ops.stack.errors import StackError

# Those that a service cannot do without, whichever servers it uses.
OF_SERVICES = ("SECRET_KEY", "KEY_PEPPER", "AUTH_SERVICE_KEY", "CORE_SERVICE_KEY")
_BYTES = 48


class SecretFiles:
    """`folder/NAME`, 0600; `elsewhere` are settings that a settings file holds, which then need no file."""

    def __init__(self, machine: Machine, folder: Path, elsewhere: Mapping[str, str], *, owner: str = "root") -> None:
        self._machine = machine
        self._folder = folder
        self._elsewhere = elsewhere
        self._owner = owner
        self.made: list[str] = []

    def get(self, name: str) -> str | None:
        """Raises StackError for a file that is empty: somebody may yet put the secret back."""
        text = self._machine.read(self._folder / name)
        if text is not None and not text.strip():
            raise StackError(f"{self._folder / name} is empty: put the secret back, or remove the file for a new one")
        return text.strip() if text else self._elsewhere.get(name)

    def all(self, names: Iterable[str]) -> dict[str, str]:
        return {name: value for name in names if (value := self.get(name))}

    def ensure(self, name: str) -> str:
        """What is there, or a new one of 64 characters."""
        return self.get(name) or self.keep(name, secret())

    def keep(self, name: str, value: str, *, replaces: bool = False) -> str:
        """Raises StackError where another value is there and `replaces` does not allow it."""
        known = self.get(name)
        if known is not None and known != value and not replaces:
            raise StackError(
                f"{name} is set to something else already: remove {self._folder / name} (or its line in the settings "
                "file) to have it replaced"
            )
        if known != value:
            self._machine.write(self._folder / name, value + "\n", 0o600, self._owner, self._owner)
            self.made.append(name)
        return value

    def weak(self) -> list[str]:
        """What production would refuse, a sentence each."""
        found = self.all(OF_SERVICES)
        return [f"{name}: {reason}" for name, value in found.items() if (reason := weakness(value))]


def secret() -> str:
    """48 random bytes as 64 characters that need no quoting in a URL, a shell or a settings file."""
    return secrets.token_urlsafe(_BYTES)
