"""One log line in any of the forms that end up in `var/logs/`."""

import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from ops.logs import sign_ins

_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
_OWN_TIME = re.compile(r'(?:\{"time": ?")?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)')
_POSTGRES = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d{3}) UTC ")
_VALKEY = re.compile(r"\d+:[A-Z] (\d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) ")
# Written by common/access_log.py.
_COMBINED = re.compile(
    r"(?P<address>\S+) (?P<request_id>\S+) (?P<user>\S+) "
    r"\[(?P<day>\d\d)/(?P<month>\w{3})/(?P<year>\d{4}):(?P<clock>\d\d:\d\d:\d\d) \+0000\] "
    r'"(?P<method>\S+) (?P<path>\S+) (?P<protocol>HTTP/\d\.\d)" (?P<status>\d{3}) (?P<bytes>\d+) '
    r'"(?P<referer>[^"]*)" "(?P<agent>[^"]*)"'
)
_DEV = re.compile(
    r"(?P<time>\d{4}-\S+Z) (?P<method>\S+) (?P<path>\S+) (?P<status>\d{3}) (?P<milliseconds>[\d.]+) ms "
    r"(?P<bytes>\d+) B (?P<address>\S+) (?P<request_id>\S+)"
)


class Line(NamedTuple):
    """`time` is ISO 8601 in UTC with milliseconds, and not the line's own unless `is_timed`: then it gives its place.

    `fields` is None for a line that is neither JSON nor an access line.
    """

    time: str
    is_timed: bool
    service: str
    text: str
    fields: dict[str, Any] | None

    @property
    def is_failed_sign_in(self) -> bool:
        return self.fields is not None and sign_ins.is_failed(self.fields)


def parse(text: str, log: str) -> Line:
    """A line of the log named `log`; its time is empty when it does not say."""
    fields = fields_of(text, log)
    own = str(fields["time"]) if fields and "time" in fields else _plain_time(text)
    return Line(own, bool(own), str((fields or {}).get("service", log)), text, fields)


def own_time(text: str) -> str:
    """The time that a line says, without reading all of it; empty when it says none."""
    if match := _OWN_TIME.match(text):
        return match[1]
    if match := _COMBINED.fullmatch(text):
        return _combined_time(match)
    return _plain_time(text)


def fields_of(text: str, log: str = "") -> dict[str, Any] | None:
    """The fields of a JSON or access line; None for any other."""
    if text.startswith("{"):
        return _json(text)
    if match := _COMBINED.fullmatch(text):
        time = _combined_time(match)
    elif match := _DEV.fullmatch(text):
        time = match["time"]
    else:
        return None
    return {"time": time, "level": "info", "service": log, "event": "request", **_said(match.groupdict())}


def own_words(text: str) -> str:
    """A plain line without the time that PostgreSQL or Valkey put before it."""
    match = _POSTGRES.match(text) or _VALKEY.match(text)
    return text[match.end() :] if match else text


def _said(groups: dict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: groups[name]
        for name in ("request_id", "address", "user", "method", "path", "protocol", "referer", "agent")
        if groups.get(name, "-") != "-"
    }
    fields |= {"status": int(groups["status"]), "bytes": int(groups["bytes"])}
    if "milliseconds" in groups:
        fields["seconds"] = round(float(groups["milliseconds"]) / 1000, 6)
    return fields


def _combined_time(match: re.Match[str]) -> str:
    month = max(0, _MONTHS.find(match["month"])) // 3 + 1
    return f"{match['year']}-{month:02}-{match['day']}T{match['clock']}.000Z"


def _json(text: str) -> dict[str, Any] | None:
    try:
        fields = orjson.loads(text)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _plain_time(text: str) -> str:
    """PostgreSQL and Valkey begin their lines with theirs; both run in UTC."""
    if match := _POSTGRES.match(text):
        return f"{match[1]}T{match[2]}Z"
    if match := _VALKEY.match(text):
        moment = datetime.strptime(match[1], "%d %b %Y %H:%M:%S.%f").replace(tzinfo=UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return ""
