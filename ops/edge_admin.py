"""The edge's private socket, asked from the command line of its machine."""

import http.client
import json
import socket
from typing import Any

from ops.stack.errors import StackError
from ops.stack.place import Place

_BODY_BYTES_MAX = 16 * 1024 * 1024


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("edge-admin", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(place: Place, method: str, target: str, body: Any = None, *, timeout: float = 5) -> dict[str, Any]:
    """The data that the edge over this place answers. Raises StackError with its refusal, or without an answer."""
    path = place.run / "edge-admin.sock"
    connection = _Connection(str(path), timeout)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, target, payload, {} if body is None else {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read(_BODY_BYTES_MAX))
    except PermissionError:
        raise StackError(f"{path} belongs to another user: run this as its owner") from None
    except (FileNotFoundError, ConnectionError):
        raise StackError(f"no edge is running over {place.var}") from None
    except TimeoutError:
        raise StackError(f"the edge did not answer within {timeout:g} s; see {place.log('edge')}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise StackError(f"the edge gave no usable answer ({type(error).__name__}: {error})") from None
    finally:
        connection.close()
    if response.status != 200 or not isinstance(answer, dict):
        raise StackError(str(answer.get("error", response.status)) if isinstance(answer, dict) else "no usable answer")
    data: dict[str, Any] = answer["data"]
    return data
