"""Through edge and core to PostgreSQL: what a list costs each service of a whole stack."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ops.bench.load import Request
from ops.bench.processes import Running
from ops.bench.report import Section, load_section
from ops.bench.rounds import Subject, compare
from ops.bench.setting import Bench
from ops.bench.stack import running_stack
from ops.embedded import discard
from ops.stack.condition import condition
from ops.stack.place import Place

# Far above what can be reached, so that every check admits; a short window keeps the lists short.
_LIMITS = {"LIMIT_GENERAL": "1000000/1"}


def run(bench: Bench) -> Iterator[Section]:
    place = Place(Path(tempfile.mkdtemp(prefix="stack-", dir=bench.folder)) / "var")
    place.var.parent.chmod(0o711)
    with running_stack(place, _LIMITS):
        status = condition(place)
        assert status
        key = json.loads(place.credentials.read_text())["api_key"]
        request = Request(f"{status['url']}/api/v1/expenses", {"Authorization": f"Bearer {key}"})
        services = {one["name"]: Running(one["pids"][0], port=0) for one in status["services"]}
        # One after the other: the same load, each time with an eye on another service.
        subjects = {name: Subject(services[name], request) for name in ("edge", "core")}
        outcomes = compare(subjects, rounds=bench.rounds, seconds=bench.seconds)
    discard(place.var)
    yield load_section("A list of expenses through edge and core, with an API key and the exact limit", outcomes)
