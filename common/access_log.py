"""Access lines: one a request, in the form that ACCESS_LOG_FORMAT names. docs/logs.md describes the forms.

json      an object like every other line
combined  Apache's combined format (https://httpd.apache.org/docs/2.4/logs.html#combined), exactly its nine fields; the
          request id stands in the second, Apache's `%l`, which is otherwise `-`
dev       time, method, path, status, duration, size, address, request id

No form holds a query string, neither of the request nor of the Referer: people put keys into them.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

AccessLogFormat: TypeAlias = Literal["json", "combined", "dev"]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Within quotes: what would end them, a backslash, and all that is no printable ASCII.
_UNSAFE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_UNSAFE_WORD = re.compile(r"[^\x21\x23-\x5b\x5d-\x7e]")


def details(headers: Mapping[str, str], version: tuple[int, int]) -> dict[str, Any]:
    """What a combined line says besides what the others say."""
    return {
        "protocol": f"HTTP/{version[0]}.{version[1]}",
        "referer": headers.get("Referer", "").partition("?")[0],
        "agent": headers.get("User-Agent", ""),
    }


def combined(fields: Mapping[str, Any]) -> bytes:
    """`address request-id user [time] "METHOD path protocol" status bytes "referer" "agent"`."""
    time = fields["time"]
    clock = f"{time[8:10]}/{_MONTHS[int(time[5:7]) - 1]}/{time[:4]}:{time[11:19]} +0000"
    asked = f"{_word(fields['method'])} {_word(fields['path'])} {fields.get('protocol', 'HTTP/1.1')}"
    return (
        f"{_word(fields.get('address'))} {_word(fields.get('request_id'))} {_word(fields.get('user'))} [{clock}] "
        f'"{asked}" {fields["status"]} {fields["bytes"]} '
        f'"{_quoted(fields.get("referer"))}" "{_quoted(fields.get("agent"))}"'
    ).encode()


def dev(fields: Mapping[str, Any]) -> bytes:
    """`time METHOD path status 1.2 ms 345 B address request-id`."""
    return (
        f"{fields['time']} {_word(fields['method'])} {_word(fields['path'])} {fields['status']} "
        f"{fields['seconds'] * 1000:.1f} ms {fields['bytes']} B "
        f"{_word(fields.get('address'))} {_word(fields.get('request_id'))}"
    ).encode()


def _word(value: object) -> str:
    """One word: no space, quote or control byte; `-` for nothing."""
    return _UNSAFE_WORD.sub(_escaped, str(value)) if value not in (None, "") else "-"


def _quoted(value: object) -> str:
    return _UNSAFE.sub(_escaped, str(value)) if value not in (None, "") else "-"


def _escaped(match: re.Match[str]) -> str:
    r"""`\x22`, as nginx writes it: Apache's `\"` ends the field for the usual regular expressions."""
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # aiohttp's reading of a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode(errors="surrogatepass"))
