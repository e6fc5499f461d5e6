"""What the admin interface looks at."""

from dataclasses import dataclass, field

from edge.entries import Table
from edge.settings import EdgeSettings
from edge.upstream.registry import Upstreams


@dataclass
class Insight:
    """One worker's parts. `table` is the one in force, `refused` names the faults of a newer one on the disk."""

    loaded: EdgeSettings
    table: Table
    upstreams: Upstreams
    refused: list[str] = field(default_factory=list)
