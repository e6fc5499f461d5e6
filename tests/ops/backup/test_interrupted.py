"""Restores that are cut in two, at the moments that matter."""

import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from ops import backup, interrupts
from ops.backup import planning, restoring, turns
from ops.backup.errors import BackupFailed
from ops.backup.swap import Swap
from ops.stack.errors import StackError
from ops.stack.pausing import exclusive, paused
from ops.stack.place import Place

Environ = dict[str, str]


def place(environ: Environ) -> Place:
    return Place(Path(environ["GATEHOUSE_VAR"]))


def test_a_signal_waits_though_another_thread_could_take_it() -> None:
    """As the thread does that draws a progress bar: the kernel gives the signal to whoever does not block it."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    reached: list[int] = []
    try:
        with pytest.raises(KeyboardInterrupt):
            _interrupted_at_work(reached)
    finally:
        stop.set()
        thread.join(10)
    assert reached == [499_500]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _interrupted_at_work(reached: list[int]) -> None:
    with interrupts.deferred():
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(sum(range(1000)))


def test_an_interrupt_after_the_commit_says_that_everything_is_restored(
    environ: Environ, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup.create(environ=environ)
    planned = planning.plan(Path(environ["BACKUP_DIRECTORY"]), environ=environ)
    apply = Swap.apply

    def interrupted(swap: Swap) -> None:
        apply(swap)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Swap, "apply", interrupted)
    secret = place(environ).var / "secrets" / "SECRET_KEY"
    kept = secret.read_text()
    secret.write_text("changed" * 8)
    with pytest.raises(StackError, match="interrupted, but everything is restored"):
        restoring.restore(planned, starts=False)
    assert secret.read_text() == kept


def test_what_a_killed_restore_had_put_aside_stays_until_one_stands(environ: Environ) -> None:
    """Killed between two renamings, it may leave the only copy of SECRET_KEY there."""
    backup.create(environ=environ)
    var = place(environ).var
    (var / ".restore-killed").mkdir()
    shutil.copytree(var / "secrets", var / ".restore-killed" / "before")
    planned = planning.plan(Path(environ["BACKUP_DIRECTORY"]), environ=environ)
    with pytest.raises(BackupFailed, match="cannot be reached"):
        restoring.restore(
            planning.plan(
                Path(environ["BACKUP_DIRECTORY"]), environ=environ | {"DATABASE_URL": "postgresql://a:b@127.0.0.1:9/x"}
            ),
            starts=False,
        )
    assert (var / ".restore-killed" / "before" / "SECRET_KEY").exists()
    restoring.restore(planned, starts=False)
    assert not (var / ".restore-killed").exists()


def test_who_cannot_be_paused_is_not_restored_under(environ: Environ) -> None:
    """A backup that started the embedded database for itself holds the stack's lock and has no control socket."""
    backup.create(environ=environ)
    planned = planning.plan(Path(environ["BACKUP_DIRECTORY"]), environ=environ)
    place(environ).prepare()
    with place(environ).taken(), pytest.raises(StackError, match=f"pid {os.getpid()}.* cannot be paused"):
        restoring.restore(planned, starts=False)
    with pytest.raises(StackError, match="cannot be paused"), paused(place(environ)):
        raise AssertionError("it went on")


def test_a_restore_waits_for_its_turn(environ: Environ) -> None:
    backup.create(environ=environ)
    planned = planning.plan(Path(environ["BACKUP_DIRECTORY"]), environ=environ)
    place(environ).prepare()
    with turns.backing_up(place(environ)), pytest.raises(BackupFailed, match="is being made: restore when it is done"):
        restoring.restore(planned, starts=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it acts for somebody else")
def test_the_lock_that_root_makes_belongs_to_the_stacks_user(placed: Environ) -> None:
    place(placed).prepare()
    os.chown(place(placed).run, 12345, 12345)
    with exclusive(place(placed)):
        assert (place(placed).run / "restore.lock").stat().st_uid == 12345
