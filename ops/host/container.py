"""Containers that stand for whole machines: made, asked, removed. Needs the `docker` command and an engine."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_ASK_SECONDS = 60.0
_BUILD_SECONDS = 900.0
# systemd wants to mount, to see its control groups, and to have /run for itself; a privileged container gives more.
SYSTEMD = (
    *("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--cgroupns=host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--tmpfs", "/run", "--tmpfs", "/run/lock"),
)


class ContainerError(Exception):
    """One sentence, and the end of what was said where that helps."""


def docker(*words: str, seconds: float = _ASK_SECONDS, stdin: str = "") -> str:
    """What `docker` prints. Raises ContainerError when it fails or takes longer than `seconds`."""
    shown = " ".join(("docker", *words[:3], "…" if len(words) > 3 else "")).rstrip()
    if shutil.which("docker") is None:
        raise ContainerError("the `docker` command is not installed")
    try:
        done = subprocess.run(
            ["docker", *words], input=stdin, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as expired:
        said = expired.stdout.decode(errors="replace") if isinstance(expired.stdout, bytes) else ""
        raise ContainerError(f"`{shown}` took more than {seconds:g} s{_end(said)}") from None
    if done.returncode:
        raise ContainerError(f"`{shown}` failed with {done.returncode}{_end(done.stdout + done.stderr)}")
    return done.stdout


def build(target: str, tag: str, base: str) -> None:
    """Builds a stage of this folder's Dockerfile on the image `base`."""
    here = str(Path(__file__).parent)
    docker("build", "--target", target, "--build-arg", f"BASE={base}", "--tag", tag, here, seconds=_BUILD_SECONDS)


class Container:
    """A running container; a context that removes it at the end, unless it `keeps` it."""

    def __init__(self, name: str, image: str, options: Sequence[str] = (), *, keeps: bool = False) -> None:
        self.name = name
        self._keeps = keeps
        docker("rm", "--force", "--volumes", name)  # left behind by a check that was killed
        docker("run", "--detach", "--name", name, *options, image)

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._keeps:
            docker("rm", "--force", "--volumes", self.name)

    @property
    def address(self) -> str:
        """On the network of containers."""
        return docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", self.name).strip()

    def sh(self, script: str, *, seconds: float = _ASK_SECONDS) -> str:
        """Runs `script` in a shell as root, in root's home, as somebody types it who stops at the first failure."""
        words = ("exec", "--interactive", "--workdir", "/root", self.name, "bash", "-euo", "pipefail", "-s")
        return docker(*words, seconds=seconds, stdin=script)

    def copy(self, source: Path, target: str) -> None:
        docker("cp", str(source), f"{self.name}:{target}")


def _end(said: str, lines: int = 25) -> str:
    return "".join(f"\n  {line}" for line in said.strip().splitlines()[-lines:])
