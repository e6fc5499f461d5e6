"""The answers a worker keeps: the least recently used leave when their bytes become too many."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.cache.keys import Address, Key, Variant
from edge.identity.caller import Header

_VARIANTS_MAX = 16
_OVERHEAD_BYTES = 1024  # what Python takes for an entry beside its bytes, generously


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer, or that there is none to keep (`is_none`). Times are the store's clock, in seconds."""

    reason: bytes
    headers: tuple[Header, ...]
    body: bytes
    gzipped: bytes | None
    born_at: float
    expires_at: float
    varying: tuple[bytes, ...]
    variant: Variant
    is_none: bool = False

    @classmethod
    def none(cls, varying: tuple[bytes, ...], variant: Variant, now: float, seconds: float) -> "Entry":
        return cls(b"", (), b"", None, now, now + seconds, varying, variant, is_none=True)

    @property
    def size(self) -> int:
        headers = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.body) + len(self.gzipped or b"") + headers + _OVERHEAD_BYTES


@dataclass(slots=True)
class _Resource:
    """What is kept under one key: one answer for each set of values of the request headers in `varying`."""

    varying: tuple[bytes, ...]
    variants: dict[Variant, Entry] = field(default_factory=dict)
    size: int = 0

    def put(self, entry: Entry) -> None:
        self._forget(entry.variant)
        if len(self.variants) >= _VARIANTS_MAX:
            self._forget(next(iter(self.variants)))
        self.variants[entry.variant] = entry
        self.size += entry.size

    def _forget(self, variant: Variant) -> None:
        forgotten = self.variants.pop(variant, None)
        self.size -= forgotten.size if forgotten else 0


class Store:
    def __init__(self, bytes_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.size = 0
        self._bytes_max = bytes_max
        self._resources: OrderedDict[Key, _Resource] = OrderedDict()
        self._keys: dict[Address, set[Key]] = {}

    def __len__(self) -> int:
        return sum(len(resource.variants) for resource in self._resources.values())

    def varying(self, key: Key) -> tuple[bytes, ...]:
        """The request headers that the last answer under `key` depended on."""
        resource = self._resources.get(key)
        return resource.varying if resource is not None else ()

    def find(self, key: Key, variant: Variant) -> Entry | None:
        """What is fresh; `variant` holds the values of `varying`."""
        resource = self._resources.get(key)
        entry = resource.variants.get(variant) if resource is not None else None
        if entry is None or entry.expires_at <= self.clock():
            return None
        self._resources.move_to_end(key)
        return entry

    def put(self, key: Key, entry: Entry) -> None:
        resource = self._resources.get(key)
        if resource is None or resource.varying != entry.varying:
            self._remove(key)
            resource = self._resources[key] = _Resource(entry.varying, size=len(key.address.path + key.address.query))
            self._keys.setdefault(key.address, set()).add(key)
            self.size += resource.size
        self.size -= resource.size
        resource.put(entry)
        self.size += resource.size
        self._resources.move_to_end(key)
        while self.size > self._bytes_max:
            self._remove(next(iter(self._resources)))

    def forget(self, address: Address) -> None:
        """Everybody's answers from `address`: a request has changed what is there."""
        for key in tuple(self._keys.get(address, ())):
            self._remove(key)

    def _remove(self, key: Key) -> None:
        resource = self._resources.pop(key, None)
        if resource is None:
            return
        self.size -= resource.size
        keys = self._keys[key.address]
        keys.discard(key)
        if not keys:
            del self._keys[key.address]
