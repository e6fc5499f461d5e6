"""`make` runs this before anything else: builds `.venv` from a hash-locked file, once.

    python3 ops/install.py requirements.lock         what `make run` needs
    python3 ops/install.py requirements-dev.lock     and what the tests and checks need

It runs under the machine's Python, so it imports the standard library only.
"""

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
VENV = TOP / ".venv"
LOCKS = ("requirements.lock", "requirements-dev.lock")


class CannotInstall(Exception):
    """The text is one sentence: what is missing and how to get it."""


def main(lock: str) -> int:
    """0 when `.venv` holds what `lock` lists, 1 with one sentence on stderr when it cannot."""
    try:
        if not is_installed(lock):
            check_venv()
            install(lock)
    except CannotInstall as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def check_venv() -> None:
    """Debian and Ubuntu ship Python without the parts that make an environment."""
    for module in ("venv", "ensurepip"):
        try:
            __import__(module)
        except ImportError:
            raise CannotInstall(
                "Python's venv module is missing; install it (Debian, Ubuntu: `sudo apt install python3-venv`)"
            ) from None


def is_installed(lock: str) -> bool:
    """Whether `.venv` works and was filled from this lock as it is now; the larger one holds the smaller."""
    wanted = {mark(lock), *([mark(LOCKS[1])] if lock == LOCKS[0] else [])}
    try:
        return stamp().read_text() in wanted and works()
    except FileNotFoundError:
        return False


def install(lock: str) -> None:
    """Raises CannotInstall after pip's own message."""
    if not works():
        say(f"making {VENV.name} with {sys.executable}")
        shutil.rmtree(VENV, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(VENV)], "the environment cannot be made")
    stamp().unlink(missing_ok=True)
    say(f"installing the packages of {lock} into {VENV.name} (the first time takes a minute)")
    pip = [str(interpreter()), "-m", "pip", "--disable-pip-version-check", "install"]
    lacking = f"not every package could be installed on {sysconfig.get_platform()} with Python {sys.version.split()[0]}"
    # The lock names every package, so pip is to choose nothing: asked to, it takes a newer release of one that is
    # wanted with an extra, and then refuses it for having no hash.
    run(
        [*pip, "--only-binary", ":all:", "--no-deps", "--require-hashes", "-r", str(TOP / lock)],
        f"{lacking}: pip says above whether the network or a wheel for this platform is missing",
        total=(TOP / lock).read_text().count("=="),
    )
    run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(TOP)], "Gatehouse itself cannot be installed")
    stamp().write_text(mark(lock))


def mark(lock: str) -> str:
    """Changes with everything that an installation depends on."""
    digest = hashlib.sha256(lock.encode())
    for name in (*LOCKS, "pyproject.toml"):
        digest.update((TOP / name).read_bytes())
    return digest.hexdigest()


def stamp() -> Path:
    return VENV / ".installed"


def interpreter() -> Path:
    return VENV / "bin" / "python"


def works() -> bool:
    """A moved checkout or an upgraded system leaves an environment that does not start."""
    probe = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([str(interpreter()), "-c", probe], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run(words: list[str], failure: str, *, total: int = 0) -> None:
    """Shows how far pip is of `total` packages, and what it complained of only when it fails."""
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(words, cwd=TOP, stdout=subprocess.PIPE, stderr=complaints, text=True) as process,
    ):
        count = 0
        for line in process.stdout or ():
            if line.startswith("Collecting "):
                count += 1
                show(f"{min(count, total)} of {total}")
        show("")
        if process.wait():
            complaints.seek(0)
            sys.stderr.write(complaints.read())
            raise CannotInstall(failure)


def show(progress: str) -> None:
    """In place, where there is somebody to see it."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\x1b[K{progress}")
        sys.stdout.flush()


def say(text: str) -> None:
    sys.stdout.write(f"{text} …\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
