"""A client outside of the machine: calls over HTTPS, as anybody on the internet."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ops.docker.journey import Edge, JourneyFailed
from ops.host.container import Container, ContainerError
from ops.host.surroundings import DOMAIN, authorities

_TRUSTED = "/root/trusted.pem"
# Somewhat less than the 100 calls a minute that a user has.
_PAUSE_SECONDS = 0.8


class Outside(Edge):
    """The journey's calls, made by curl in the container that is the internet."""

    def __init__(self, internet: Container) -> None:
        super().__init__(443)
        self._internet = internet
        internet.sh(f"cat > {_TRUSTED} <<'END'\n{authorities(internet)}\nEND")

    def curl(self, *words: str) -> str:
        """What curl prints. Raises OSError when no answer came."""
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
        try:
            return self._internet.sh(f"curl --silent --show-error --max-time 15 --cacert {_TRUSTED} {quoted}")
        except ContainerError as error:
            raise OSError(str(error)) from None

    def call(
        self, method: str, path: str, body: Any = None, *, authorization: str = "", expected: int = 200
    ) -> dict[str, Any]:
        words = ["--request", method, "--write-out", "\n%{http_code}", f"https://{DOMAIN}{path}"]
        if authorization:
            words += ["--header", f"Authorization: {authorization}"]
        if body is not None:
            words += ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
        text, _, status = self.curl(*words).rpartition("\n")
        if int(status) != expected:
            raise JourneyFailed(f"{method} {path} answered {status}, not {expected}: {text}")
        answer: dict[str, Any] = json.loads(text or "{}")
        return answer

    def accepts_tls(self, version: str) -> bool:
        """Whether a handshake of that version, `1.1`, comes about at all; the certificate does not matter."""
        option = "-tls" + version.replace(".", "_")
        command = f"openssl s_client -connect {DOMAIN}:443 -servername {DOMAIN} {option} -cipher DEFAULT@SECLEVEL=0"
        return "Cipher is (NONE)" not in self._internet.sh(f"{command} </dev/null 2>&1 || true")

    def reaches(self, port: int) -> bool:
        return "open" in self._internet.sh(
            f"timeout 3 bash -c '</dev/tcp/{DOMAIN}/{port}' 2>/dev/null && echo open || true"
        )

    def guess(self, times: int) -> None:
        """Signs in with a wrong password so many times; what is answered, or nothing, is all the same."""
        words = f"--max-time 5 --cacert {_TRUSTED} --output /dev/null --header 'Content-Type: application/json'"
        body = json.dumps({"email": "you@example.com", "password": "wrong"})
        url = f"https://{DOMAIN}/api/v1/auth/login"
        self._internet.sh(f"for _ in $(seq {times}); do curl --silent {words} --data '{body}' {url} || true; done")


@contextmanager
def constantly(outside: Outside, key: str) -> Iterator[list[str]]:
    """Calls with an API key, one after the other, while the block runs; none without a key.

    Yields what went wrong, as it happens.
    """
    failures: list[str] = []
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(_PAUSE_SECONDS):
            try:
                outside.call("GET", "/api/v1/expenses", authorization=f"ApiKey {key}")
            except (JourneyFailed, OSError) as error:
                failures.append(str(error))

    caller = threading.Thread(target=go_on, daemon=True)
    if key:
        caller.start()
    try:
        yield failures
    finally:
        ended.set()
        if key:
            caller.join(30)
