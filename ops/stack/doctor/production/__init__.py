"""`gatehouse doctor --production`: the lists that are gone through before and after a launch, as checks that run.

Works on a running host and before the first start, where it says what it could not see yet. docs/security-review.md
says which line of which guide's list each check stands for.
"""

from collections.abc import Callable, Iterable, Iterator

from ops.stack.doctor import Finding
from ops.stack.doctor.production.host import Host

Check = Callable[[Host], Iterable[Finding]]


def examine(host: Host) -> Iterator[tuple[str, Finding]]:
    """Each finding with the heading it stands under, as it is found."""
    for heading, checks in _groups().items():
        for check in checks:
            try:
                for finding in check(host):
                    yield heading, finding
            except Exception as error:  # noqa: BLE001 - one check that breaks must not hide what the others find
                name = getattr(check, "__module__", "").rpartition(".")[2]
                yield heading, Finding(name, "fail", f"the check broke: {type(error).__name__}: {error}", _REPORT)


_REPORT = "this is a fault of ours: please report it with this line"


def _groups() -> dict[str, tuple[Check, ...]]:
    from ops.stack.doctor.production import (  # noqa: PLC0415 - the package's names must not cost the imports of all
        backups,
        basics,
        database,
        exposure,
        front,
        logs,
        names,
        packages,
        policy,
        resources,
        rights,
        store,
        units,
    )

    return {
        "Settings": (basics.settings, policy.check),
        "Secrets and rights": (basics.state, rights.check),
        "Machine": (basics.machine, resources.check, units.check, packages.check),
        "Names and ports": (names.check,),
        "HTTPS": (front.check,),
        "Services": (exposure.check,),
        "Database": (basics.database, database.check),
        "Store": (basics.store, store.check),
        "Backups and logs": (backups.check, logs.check),
    }
