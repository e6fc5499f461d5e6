"""From one release to another while it serves, and back by itself when that does not work.

Order and reasons: nothing is touched before a backup is there and read back; the new release is made beside the old and
judges the settings with its own code; migrations run before the switch, because the old release must work on the new
schema anyway and a failing one then ends the matter; auth and core are replaced before the edge, which needs both.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ops.interrupts import interruptible, undisturbed
from ops.release import record
from ops.release.children import Commands
from ops.release.home import Home, Release, ReleaseError, activate, prune
from ops.release.installing import Fill, check_machine, install_locked
from ops.release.outcome import Outcome, reason_of
from ops.release.services import Services, Stopped
from ops.release.source import Source
from ops.release.verifying import READY_SECONDS, Verifier
from ops.stack.configuration import Configuration
from ops.stack.events import Story

ORDER = ("auth", "core", "edge")
_SCHEMA_STAYS = "the database keeps the newer schema, on which this release works too"


class Upgrade:
    """One upgrade, or the way back. Raises ReleaseError only for what is wrong before anything is begun."""

    def __init__(
        self,
        home: Home,
        configuration: Configuration,
        services: Services,
        story: Story,
        *,
        fill: Fill | None = None,
        ready_seconds: float = READY_SECONDS,
    ) -> None:
        self._home = home
        self._configuration = configuration
        self._place = configuration.place
        self._services = services
        self._story = story
        self._fill = fill
        self._ready_seconds = ready_seconds
        self._commands = Commands(configuration.place, configuration.environ)

    def to(self, source: Source) -> Outcome:
        """Backup, installation, migrations, switch, workers. The outcome says how it ended."""
        with self._home.locked():
            outcome = Outcome(self._current(), source.version)
            with self._recorded(outcome):
                with self._story.step("Preflight") as step:
                    _refuse_older(source, outcome.before)
                    check_machine(source, self._home)
                    self._services.check()
                    step.note = f"{outcome.before.name} is current, kept running by {self._services.title}"
                if not self._is_current(source):
                    self._back_up(outcome)
                release = self._install(source)
                outcome.after = release.name
                plans = self._check_settings(release)
                if release != outcome.before:
                    self._migrate(release, outcome)
                self._change(release, outcome, plans)
                if outcome.result == "upgraded":
                    self._prune()
        return outcome

    def back(self) -> Outcome:
        """To the release that was current before; neither backup nor migrations, the schema stays."""
        with self._home.locked():
            before, target = self._current(), self._home.previous_release()
            if target is None:
                raise ReleaseError(f"there is no release before {before.name} in {self._home.releases}")
            outcome = Outcome(before, target.name)
            with self._recorded(outcome):
                self._services.check()
                self._change(target, outcome, self._check_settings(target))
                if outcome.result == "upgraded":
                    outcome.result, outcome.reason = "rolled back", f"as asked; {_SCHEMA_STAYS}"
        return outcome

    # Before anything is switched

    def _current(self) -> Release:
        current = self._home.current_release()
        if current is None:
            raise ReleaseError(f"{self._home.current} leads to no release: `gatehouse setup` installs the first one")
        return current

    def _is_current(self, source: Source) -> bool:
        return self._current().digest == source.digest

    def _back_up(self, outcome: Outcome) -> None:
        with self._story.step("Backup") as step:
            try:
                made = self._commands.gatehouse(outcome.before, "backup")
            except ReleaseError as error:
                raise ReleaseError(f"no upgrade without a backup: {error}") from None
            outcome.backup = step.note = str(made["path"])

    def _install(self, source: Source) -> Release:
        with self._story.step("Release") as step:
            release = install_locked(source, self._home, fill=self._fill)
            step.note = str(release.path)
        return release

    def _check_settings(self, release: Release) -> dict[str, dict[str, Any]]:
        """Its own judgement of the settings there are: what it would refuse, it refuses before it matters."""
        with self._story.step("Settings") as step:
            stand_ins = self._configuration.placeholders()
            plans = self._commands.plans(release, stand_ins)
            step.note = f"accepted by {release.name}"
        return plans

    def _migrate(self, release: Release, outcome: Outcome) -> None:
        with self._story.step("Migrations") as step:
            outcome.migrations = list(self._commands.gatehouse(release, "migrate")["applied"])
            step.note = f"{', '.join(outcome.migrations)} applied" if outcome.migrations else "up to date"

    # The switch, and what comes of it

    def _change(self, release: Release, outcome: Outcome, plans: dict[str, dict[str, Any]]) -> None:
        """Switches and replaces; on any failure, an interruption included, goes back. Never raises after the switch."""
        verifier = Verifier(plans, self._ready_seconds)
        wanted = self._wanted(release, outcome, verifier)
        if not wanted and release == outcome.before:
            outcome.result, outcome.running = "unchanged", release.name
            return
        # A current release that not all workers run is an upgrade that was cut off: it is finished, or undone.
        fallback = self._home.previous_release() if release == outcome.before else outcome.before
        tried: list[str] = []
        try:
            outcome.is_begun = True
            activate(release)
            self._replace(wanted, release, verifier, tried)
            outcome.result, outcome.running = "upgraded", release.name
        except BaseException as error:  # noqa: BLE001 - whatever it was, the old release must serve again
            with undisturbed():
                self._go_back(fallback, outcome, verifier, tried, reason_of(error))

    def _wanted(self, release: Release, outcome: Outcome, verifier: Verifier) -> Sequence[str]:
        """The services to be replaced, in their order."""
        if isinstance(self._services, Stopped):
            return ()
        if release != outcome.before:
            return ORDER
        return [service for service in ORDER if verifier.version(service) != release.version]

    def _replace(self, services: Sequence[str], release: Release, verifier: Verifier, tried: list[str]) -> None:
        for service in services:
            with self._story.step(service) as step:
                tried.append(service)
                self._services.replace(service)
                verifier.verify(service, release.version)
                step.note = f"{release.version} serves and is ready"

    def _go_back(
        self, fallback: Release | None, outcome: Outcome, verifier: Verifier, tried: list[str], reason: str
    ) -> None:
        self._story.say(f"{reason}; going back")
        if fallback is None:
            self._break(outcome, f"{reason}; there is no release to go back to")
            return
        try:
            if self._home.current_release() != fallback:
                activate(fallback)
        except ReleaseError as error:
            self._break(outcome, f"{reason}; going back failed: {error}")
            return
        outcome.running = fallback.name
        if faults := self._put_back(tried, fallback, verifier):
            failed = "; ".join(faults)
            self._break(outcome, f"{reason}; {fallback.name} is current again, but going back failed too: {failed}")
        else:
            outcome.result = "rolled back"
            outcome.reason = f"{reason}; {fallback.name} runs again and is healthy; {_SCHEMA_STAYS}"

    def _put_back(self, tried: Sequence[str], release: Release, verifier: Verifier) -> list[str]:
        """Whatever becomes of the others, and all before any is judged: the edge needs those behind it. The faults."""
        faults: dict[str, str] = {}
        for service in reversed(tried):
            try:
                self._services.replace(service)
            except Exception as error:  # noqa: BLE001 - the next one must come back all the same
                faults[service] = reason_of(error)
        for service in tried:
            try:
                if service not in faults:
                    verifier.verify(service, release.version)
            except ReleaseError as error:
                faults[service] = str(error)
        return list(faults.values())

    def _break(self, outcome: Outcome, reason: str) -> None:
        current = self._home.current_release()
        outcome.result, outcome.reason = "broken", reason
        outcome.running = current.name if current else outcome.before.name

    # Afterwards

    def _prune(self) -> None:
        try:
            if removed := prune(self._home):
                self._story.say(f"removed {', '.join(removed)}")
        except OSError as error:
            self._story.say(f"old releases are still there: {error.strerror}: {error.filename}")

    @contextmanager
    def _recorded(self, outcome: Outcome) -> Iterator[None]:
        """Whatever ends it goes into the record; what failed before the switch becomes an outcome."""
        try:
            with interruptible():
                yield
        except (ReleaseError, KeyboardInterrupt) as error:
            if not outcome.is_begun:
                outcome.result, outcome.running = "failed", outcome.before.name
                outcome.reason = f"{reason_of(error)}; nothing was switched, {outcome.before.name} runs on"
            elif not outcome.running:
                self._break(outcome, f"{reason_of(error)} in the middle of it; the same command again finishes it")
            # Otherwise it is done, and only the clearing up was cut short: the next upgrade sees to that.
        outcome.seconds = round(time.time() - outcome.started_at, 1)
        try:
            record.add(self._place, self._home, outcome.entry())
        except OSError as error:
            self._story.say(f"{record.path(self._place)} could not be written: {error.strerror}")


def _refuse_older(source: Source, current: Release) -> None:
    if _order(source.version) < _order(current.version):
        raise ReleaseError(
            f"version {source.version} is older than {current.version}, which runs; `gatehouse upgrade --rollback` "
            "goes back to the release before"
        )


def _order(version: str) -> tuple[tuple[int, ...], bool]:
    """By numbers; 1.0rc1 comes before 1.0. What follows a `+` does not count."""
    numbers, rest = re.fullmatch(r"([0-9.]*)([^+]*).*", version, re.DOTALL).groups()  # type: ignore[union-attr]
    return tuple(int(part) for part in numbers.split(".") if part), not re.match(r"[-_]?(a|b|rc|dev|alpha|beta)", rest)
