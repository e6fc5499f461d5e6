"""pg_restore, which makes SQL of a dump out of an archive, and psql, which runs that: two programs, two pipes."""

import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ops.backup import archive, tools
from ops.backup.database import FOLDER, SCHEMAS
from ops.backup.errors import BackupFailed

_COPY_BYTES = 1 << 20
_END_SECONDS = 30


class Sql:
    """What pg_restore makes of the dump; it is fed from the archive in a thread of its own."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], feed: Callable[[IO[bytes]], None]) -> None:
        assert process.stdin
        assert process.stdout
        self._process = process
        self._errors = errors
        self._failure: BaseException | None = None
        self.read, self.readline = process.stdout.read, process.stdout.readline
        self._thread = threading.Thread(target=self._run, args=(feed, process.stdin), daemon=True)
        self._thread.start()

    def _run(self, feed: Callable[[IO[bytes]], None], target: IO[bytes]) -> None:
        try:
            with target:
                feed(target)
        except BrokenPipeError:
            pass  # it has said why
        except BaseException as error:  # noqa: BLE001 - told where it is asked for
            self._failure = error
            self._process.kill()

    def abandon(self) -> None:
        """Ends it and its feeding."""
        self._process.kill()
        self._thread.join()

    def finish(self) -> None:
        """Raises BackupFailed unless the dump was whole."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        if self._process.wait():
            self._errors.seek(0)
            text = self._errors.read().decode(errors="replace")
            raise BackupFailed(f"pg_restore failed: {tools.complaint(text)}")


@contextmanager
def sql_of(path: Path, passphrase: str | None, progress: Callable[[int], None], *, keeps_rights: bool) -> Iterator[Sql]:
    words: list[str | Path] = [tools.newest() / "pg_restore", "--no-owner", "--file=-"]
    words += [f"--schema={schema}" for schema in SCHEMAS]
    words += [] if keeps_rights else ["--no-privileges"]

    def feed(target: IO[bytes]) -> None:
        done = 0
        with archive.reading(path, passphrase) as members:
            for name, content in members:
                while name.startswith(FOLDER) and (data := content.read(_COPY_BYTES)):
                    target.write(data)
                    done += len(data)
                    progress(done)

    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=errors, start_new_session=True) as process,
    ):
        sql = Sql(process, errors, feed)
        try:
            yield sql
        except BaseException:
            sql.abandon()
            raise


class Script:
    """psql, which stops at the first error."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors

    def write(self, text: bytes) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(text)
        except BrokenPipeError:
            raise self._failure() from None

    def await_word(self, word: bytes) -> None:
        """Until it has done all that it was given, and says so."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.flush()
        if self._process.stdout.readline() != word:
            raise self._failure()

    def close(self) -> None:
        """Its end, which must be a good one."""
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._process.wait():
            raise self._failure()

    def _failure(self) -> BackupFailed:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace")
        return BackupFailed(f"the database refused the dump: {tools.complaint(text)}")


@contextmanager
def psql(owner_url: str) -> Iterator[Script]:
    words: list[str | Path] = [
        tools.newest() / "psql",
        "--no-psqlrc",
        "--quiet",
        "--no-password",
        "--set=ON_ERROR_STOP=1",
    ]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [*words, "--file=-"],
            env=tools.environment(owner_url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # a Ctrl-C is ours to act upon
        ) as process,
    ):
        try:
            yield Script(process, errors)
        except BaseException:
            process.kill()
            with suppress(BrokenPipeError):
                process.communicate()
            raise
