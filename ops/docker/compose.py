"""Compose, as a program to run: found where it is installed, every call bounded."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_ASK_SECONDS = 30.0
_COMMANDS = (("docker", "compose"), ("docker-compose",))


class ComposeError(Exception):
    """One sentence, and the end of what Compose said where that helps."""


class Compose:
    """One project of compose files in ROOT; `environ` is added to ours."""

    def __init__(self, project: str, environ: Mapping[str, str], *files: str) -> None:
        named = [word for file in files or ("docker-compose.yml",) for word in ("--file", str(ROOT / file))]
        self._command = (*find(), "--project-name", project, "--project-directory", str(ROOT), *named)
        self._environ = {**os.environ, **environ}

    def run(self, *words: str, seconds: float = _ASK_SECONDS) -> str:
        """What it prints. Raises ComposeError when it fails or takes longer than `seconds`."""
        shown = " ".join(("docker compose", *words))
        try:
            done = subprocess.run(
                [*self._command, *words],
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ComposeError(f"`{shown}` took more than {seconds:g} s") from None
        if done.returncode:
            raise ComposeError(f"`{shown}` failed: {_end(done.stderr or done.stdout)}")
        return done.stdout

    def require_engine(self) -> None:
        """Raises ComposeError when no engine answers."""
        try:
            self.run("ls")
        except ComposeError as error:
            raise ComposeError(f"no Docker engine is reachable: {error}") from None

    def containers(self) -> dict[str, dict[str, Any]]:
        """Every container of the project by service, as `ps` describes it: State, Health, ExitCode, Publishers."""
        lines = self.run("ps", "--all", "--format", "json").splitlines()
        return {entry["Service"]: entry for entry in map(json.loads, lines)}


def find() -> Sequence[str]:
    """The command. Raises ComposeError when there is none."""
    for command in _COMMANDS:
        if shutil.which(command[0]) is None:
            continue
        asked = subprocess.run([*command, "version"], capture_output=True, timeout=_ASK_SECONDS, check=False)
        if asked.returncode == 0:
            return command
    raise ComposeError("Docker Compose is not installed (neither `docker compose` nor `docker-compose`)")


def _end(said: str, lines: int = 15) -> str:
    return "\n".join(said.strip().splitlines()[-lines:])
