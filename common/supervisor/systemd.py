"""What systemd and a service say to each other: inherited sockets, READY=1 and the like, signs of life.

Protocols: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).
"""

import contextlib
import os
import socket
import time

_FIRST_FD = 3
_NOTIFY_SECONDS_MAX = 1.0


def inherited() -> list[tuple[str, socket.socket]]:
    """The (name, listening socket) pairs passed to this very process; the variables are taken away.

    Sockets of one .socket unit share one name, the unit's own unless FileDescriptorName says otherwise.
    """
    variables = {name: os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if variables["LISTEN_PID"] != str(os.getpid()):
        return []
    names = variables["LISTEN_FDNAMES"].split(":")
    return [
        (names[index] if index < len(names) else "", _adopt(_FIRST_FD + index))
        for index in range(int(variables["LISTEN_FDS"] or 0))
    ]


def notify(*states: str) -> None:
    """Tells the service manager, when there is one; a manager that does not listen is no reason to fail."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_NOTIFY_SECONDS_MAX)  # its queue may be full; ours is the only thread
        sock.sendto("\n".join(states).encode(), address)


def signs_of_life_seconds() -> float | None:
    """How often WATCHDOG=1 is to be said: twice in the time after which we would be taken for dead. None: never."""
    wanted, whose = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    is_ours = whose is None or whose == str(os.getpid())
    return int(wanted) / 2e6 if is_ours and wanted.isascii() and wanted.isdigit() and int(wanted) else None


def reloading() -> tuple[str, str]:
    """What Type=notify-reload wants to hear at the start of a reload."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def _adopt(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    sock.setblocking(False)
    return sock
