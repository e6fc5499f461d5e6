"""The listening sockets: opened once by the parent, inherited by every worker.

They are not opened per worker with SO_REUSEPORT, because the accept queue of a worker that leaves would be reset.
"""

import contextlib
import errno
import os
import socket
import stat
import sys
from pathlib import Path

from common.supervisor.plan import CannotStart, Listener, Plan

BACKLOG = 4096  # the kernel caps it at net.core.somaxconn
_PATH_BYTES_MAX = 107 if sys.platform == "linux" else 103


class Listeners:
    """All sockets open now. A reload keeps those whose address stays."""

    def __init__(self, inherited: list[tuple[str, socket.socket]]) -> None:
        self._inherited = inherited
        self._by_name: dict[str, socket.socket] | None = None
        self._opened: dict[str, socket.socket] = {}
        self._paths: set[str] = set()

    def open(self, plan: Plan) -> dict[str, socket.socket]:
        """Listener name → socket. Raises CannotStart, and then nothing new stays open."""
        before = set(self._opened)
        sockets = dict(self._adopted(plan))
        try:
            for listener in plan.listen:
                if listener.name not in sockets:
                    sockets[listener.name] = self._open(listener)
        except CannotStart:
            self._close(set(self._opened) - before)
            raise
        return sockets

    def keep(self, plan: Plan) -> None:
        """Closes what `plan` does not listen on."""
        self._close(set(self._opened) - {listener.address for listener in plan.listen})

    def close(self) -> None:
        """Closes every copy of ours; workers that still listen go on doing so."""
        for sock in [*self._opened.values(), *(sock for _, sock in self._inherited)]:
            sock.close()

    def unlink(self) -> None:
        """Removes the paths of our Unix sockets, once nobody listens on them: another instance may by now."""
        for path in self._paths:
            with contextlib.suppress(OSError, CannotStart):
                _remove_stale(Path(path))

    def _open(self, listener: Listener) -> socket.socket:
        if listener.address not in self._opened:
            self._opened[listener.address] = bind(listener)
            if listener.path:
                self._paths.add(listener.path)
        return self._opened[listener.address]

    def _close(self, addresses: set[str]) -> None:
        for address in addresses:
            self._opened.pop(address).close()
            if address in self._paths:
                with contextlib.suppress(OSError, CannotStart):
                    _remove_stale(Path(address))

    def _adopted(self, plan: Plan) -> dict[str, socket.socket]:
        """systemd's sockets by listener: those named after one, and the others in order."""
        if self._by_name is None:
            names = [listener.name for listener in plan.listen]
            if len(self._inherited) > len(names):
                raise CannotStart(f"systemd passed {len(self._inherited)} sockets for {len(names)} listeners")
            self._by_name = {name: sock for name, sock in self._inherited if name in names}
            others = [sock for name, sock in self._inherited if name not in names]
            self._by_name.update(zip((name for name in names if name not in self._by_name), others, strict=False))
        return self._by_name


def bind(listener: Listener) -> socket.socket:
    """A listening, non-blocking socket. Raises CannotStart with what to do about it."""
    try:
        sock = _bind_path(listener) if listener.path else _bind_port(listener)
    except OSError as error:
        raise CannotStart(_sentence(listener, error)) from None
    sock.setblocking(False)
    return sock


def _bind_port(listener: Listener) -> socket.socket:
    found = socket.getaddrinfo(listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # `localhost` is both; IPv4 is what the clients of this stack are told.
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # `::` means every address
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_path(listener: Listener) -> socket.socket:
    path = Path(listener.path)
    if len(os.fsencode(path)) > _PATH_BYTES_MAX:
        raise CannotStart(
            f"the socket path {path} is longer than the {_PATH_BYTES_MAX} bytes the system allows"
            + (f"; set {listener.setting} to a shorter one" if listener.setting else "")
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(listener.path)
        path.chmod(listener.mode)  # before listen: until then nobody can connect
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    """Removes a socket that nobody listens on any more."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise CannotStart(f"{path} exists and is not a socket; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, "in use")


def _sentence(listener: Listener, error: OSError) -> str:
    place = f"socket {listener.path}" if listener.path else f"port {listener.port} on {listener.host}"
    another = f"; set {listener.setting} to " if listener.setting else ""
    if isinstance(error, socket.gaierror):
        return f"the host {listener.host} cannot be resolved"
    if error.errno == errno.EADDRINUSE:
        return f"{place} is already in use" + (f"{another}another" if another else "")
    if error.errno in {errno.EACCES, errno.EPERM} and not listener.path:
        return f"{place} needs more privileges" + (f"{another}one above 1023" if another else "")
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{listener.host} is no address of this machine"
    return f"cannot listen on {place}: {error.strerror}"
