"""How one log line looks: coloured columns for people, JSON for programs."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import click

from ops.logs import sign_ins
from ops.logs.lines import Line, own_words

_SERVICE_COLOURS = {"edge": "cyan", "auth": "magenta", "core": "blue", "gatehouse": "green"}
_LEVEL_COLOURS = {"warning": "yellow", "error": "red", "critical": "red"}
_SERVICE_WIDTH, _CLOCK_WIDTH = 9, 12
# Shown in columns of their own, or of no use to a reader.
_PLACED = {"time", "level", "service", "event", "method", "path", "status", "seconds", "request_id", "exception"}
_REQUEST_NOISE = {"route", "host", "bytes", "address", "org", "key", "protocol", "referer", "agent"}
_ADDRESS_WIDTH = 15


def shower(*, as_json: bool, failed_sign_ins: bool) -> Callable[[Line], str]:
    """How lines are shown."""
    if failed_sign_ins:
        return _sign_in_as_json if as_json else _sign_in
    return _as_json if as_json else as_text


def _sign_in_as_json(line: Line) -> str:
    return json.dumps(sign_ins.summary(line.fields or {}))


def _sign_in(line: Line) -> str:
    """`time  address  status  method path  request id`, in columns: people sort and count them."""
    said = sign_ins.summary(line.fields or {})
    words = [said["time"], f"{said['address'] or '-':<{_ADDRESS_WIDTH}}", said["status"], said["method"], said["path"]]
    return " ".join(str(word) for word in [*words, said["request_id"] or "-"])


def _as_json(line: Line) -> str:
    """JSON lines as they are; the others' fields, or their text, so that every line is an object."""
    if line.fields is not None:
        return line.text if line.text.startswith("{") else json.dumps(line.fields)
    return json.dumps({"time": line.time, "service": line.service, "event": "line", "message": line.text})


def as_text(line: Line) -> str:
    """`time  service  what happened`; anything not ordinary stands out."""
    service = click.style(f"{line.service:<{_SERVICE_WIDTH}}", fg=_SERVICE_COLOURS.get(line.service))
    return f"{click.style(_clock(line), dim=True)}  {service}  {_said(line)}"


def _clock(line: Line) -> str:
    """The time of day in UTC, with its date when that is not today's; blank for a line that does not say."""
    day, _, clock = line.time.rstrip("Z").partition("T")
    if not line.is_timed:
        return " " * _CLOCK_WIDTH
    return clock if day == datetime.now(UTC).date().isoformat() else f"{day} {clock}"


def _said(line: Line) -> str:
    fields = line.fields
    if fields is None:
        return own_words(line.text)
    level = str(fields.get("level", "info"))
    mark = click.style(f"{level} ", fg=_LEVEL_COLOURS[level], bold=True) if level in _LEVEL_COLOURS else ""
    if fields.get("event") == "request" and "status" in fields:
        return mark + _request(fields)
    details = {name: value for name, value in fields.items() if name not in _PLACED}
    said = [str(fields.get("event", "")), *_pairs(details), *_pairs({k: fields[k] for k in _UNPLACED if k in fields})]
    trace = f"\n{fields['exception']}" if "exception" in fields else ""
    return mark + " ".join(said) + trace


# In a line that is not a request's these are details like any other.
_UNPLACED = ("method", "path", "status", "seconds", "request_id")


def _request(fields: dict[str, object]) -> str:
    status = int(str(fields["status"]))
    colour = "red" if status >= 500 else "yellow" if status >= 400 else "green"
    milliseconds = float(str(fields.get("seconds", 0))) * 1000
    details = {k: v for k, v in fields.items() if k not in _PLACED | _REQUEST_NOISE and v is not None}
    words = [str(fields.get("method")), str(fields.get("path")), click.style(str(status), fg=colour)]
    words += [f"{milliseconds:.1f} ms", *_pairs(details), click.style(str(fields.get("request_id", "")), dim=True)]
    return " ".join(words)


def _pairs(fields: dict[str, object]) -> list[str]:
    pairs = [_pair(name, value) for name, value in fields.items() if value not in (None, "")]
    return sorted(pairs, key=lambda pair: "\n" in pair)  # lists of sentences come last


def _pair(name: str, value: object) -> str:
    """`name=value`; sentences, such as the faults of a table, on a line each."""
    if isinstance(value, list) and any(" " in str(item) for item in value):
        return f"{name}:" + "".join(f"\n    {item}" for item in value)
    return f"{name}={value}"
