"""Installing a release: what goes in, under which name, and that a failure leaves nothing."""

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.release import Home, Release, ReleaseError, activate, install, installing, prune
from ops.release import source as sources
from tests.ops.release.checkouts import borrow, checkout, doctor, small_source


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout(tmp_path_factory.mktemp("source"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A source of the right shape in which next to nothing is."""
    return small_source(tmp_path / "small")


def test_release_runs_from_wherever_one_stands(original: Path, home: Home, tmp_path: Path) -> None:
    release = install(original, home, fill=borrow)
    (tmp_path / "edge").mkdir()  # would be found first, were the working directory searched
    told = "import edge, ops, common.runtime; print(edge.__file__, ops.__file__, common.runtime.VERSION)"
    shown = subprocess.run(
        [*release.command("timeit", "-n1", "-r1", told)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    edge, ops, version = shown.stdout.splitlines()[0].split()
    assert edge == f"{release.path}/edge/__init__.py"
    assert ops == f"{release.path}/ops/__init__.py"
    assert version == release.version == release.name


def test_only_what_runs_is_copied(original: Path, home: Home, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(original, source)
    unwanted = [
        *(".env", ".git/config", ".venv/pyvenv.cfg", "var/secrets/SECRET_KEY", "tests/conftest.py", "Makefile"),
        *("edge/__pycache__/a.pyc", "ops/.cache/x", "common/server.key", "ops/cert.pem"),
    ]
    for name in unwanted:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("unwanted")
    (source / "edge" / "link.py").symlink_to("/etc/passwd")
    release = install(source, home, fill=borrow)
    there = {path.relative_to(release.path).as_posix() for path in release.path.rglob("*")}
    assert [name for name in [*unwanted, "edge/link.py"] if name in there and not name.startswith(".venv")] == []
    assert {"edge/routes.toml", "requirements.lock", ".env.example", "LICENSE", "release.json"} <= there
    assert not (release.path / ".git").exists()


def test_services_user_can_read_all_and_write_nothing(small: Path, home: Home) -> None:
    small.chmod(0o700)
    (small / "edge" / "__init__.py").chmod(0o600)
    before = os.umask(0o077)
    try:
        release = install(small, home, fill=borrow)
    finally:
        os.umask(before)
    for path in [
        home.path,
        home.releases,
        release.path,
        *(path for path in release.path.rglob("*") if ".venv" not in path.parts),
    ]:
        mode = path.stat().st_mode & 0o777
        assert mode & 0o022 == 0, path
        assert mode & 0o444 == 0o444, path


def test_same_content_is_not_installed_twice(small: Path, home: Home) -> None:
    first = install(small, home, fill=borrow)
    before = (first.path / "release.json").read_bytes()
    assert install(small, home, fill=refuse) == first
    assert (first.path / "release.json").read_bytes() == before


def refuse(path: Path) -> None:
    raise AssertionError(f"{path} need not be filled")


def test_same_version_with_other_content_gets_a_name_of_its_own(small: Path, home: Home) -> None:
    first = install(small, home, fill=borrow)
    (small / "edge" / "__init__.py").write_text("# changed\n")
    second = install(small, home, fill=borrow)
    assert first.name == "1.0.0"
    assert second.name.startswith("1.0.0+")
    assert f'version = "{second.name}"' in (second.path / "pyproject.toml").read_text()
    assert install(small, home, fill=refuse) == second


def test_checkout_is_named_by_its_commit(small: Path, home: Home) -> None:
    install(small, home, fill=borrow)
    (small / "edge" / "__init__.py").write_text("# changed\n")
    commit = committed(small)
    release = install(small, home, fill=borrow)
    assert release.name == f"1.0.0+{commit[:7]}"
    assert release.commit == commit


def committed(top: Path) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *words], cwd=top, check=True)
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=top, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_tarball_of_git_archive_is_a_source(small: Path, home: Home, tmp_path: Path) -> None:
    commit = committed(small)
    tarball = tmp_path / "gatehouse.tar.gz"
    words = ["git", "archive", "--format=tar.gz", "--prefix=gatehouse-1.0.0/", "-o", str(tarball), "HEAD"]
    subprocess.run(words, cwd=small, check=True)
    assert sources.read(tarball).commit == commit
    assert sources.read(tarball).digest == sources.read(small).digest
    assert install(tarball, home, fill=borrow).name == "1.0.0"


def test_tarball_cannot_reach_outside(small: Path, tmp_path: Path) -> None:
    tarball = tmp_path / "evil.tar.gz"
    with tarfile.open(tarball, "w:gz") as archive:
        archive.add(small, "top")
        for name in ("top/edge/../../../etc/evil.py", "/top/edge/absolute.py"):
            archive.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("top/edge/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert set(sources.read(tarball).files) == set(sources.read(small).files)


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda top: shutil.rmtree(top / "edge"), "is no source of Gatehouse: edge missing"),
        (lambda top: doctor(top / "pyproject.toml", "gatehouse", "other"), "it is other 1.0.0"),
        (lambda top: doctor(top / "pyproject.toml", "1.0.0", "../../etc"), "it is gatehouse ../../etc"),
        (lambda top: (top / "pyproject.toml").write_text("[["), "pyproject.toml of"),
        (shutil.rmtree, "is neither a directory nor a file"),
    ],
)
def test_what_is_no_source_is_refused(small: Path, home: Home, break_it: object, sentence: str) -> None:
    assert callable(break_it)
    break_it(small)
    with pytest.raises(ReleaseError, match=sentence):
        install(small, home, fill=refuse)


def test_broken_tarball_is_refused(home: Home, tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b\x08 broken")
    with pytest.raises(ReleaseError, match="cannot be read as a tarball"):
        install(tmp_path / "x.tar.gz", home)


def test_failure_leaves_nothing(small: Path, home: Home) -> None:
    def fail(path: Path) -> None:
        assert (path / "edge" / "__init__.py").exists()
        raise ReleaseError("no packages")

    with pytest.raises(ReleaseError, match="no packages"):
        install(small, home, fill=fail)
    assert list(home.releases.iterdir()) == []


def test_source_that_does_not_compile_is_refused(small: Path, home: Home) -> None:
    (small / "edge" / "broken.py").write_text("def (:\n")
    with pytest.raises(ReleaseError, match="does not compile"):
        install(small, home, fill=borrow)
    assert list(home.releases.iterdir()) == []


def test_unfinished_release_is_made_anew(small: Path, home: Home) -> None:
    """As after a power cut: files are there, `release.json` is not."""
    (home.releases / "1.0.0" / "edge").mkdir(parents=True)
    (home.releases / "1.0.0" / "edge" / "stale.py").write_text("")
    assert home.installed() == []
    release = install(small, home, fill=borrow)
    assert home.installed() == [release]
    assert not (release.path / "edge" / "stale.py").exists()


def test_newer_python_that_is_needed_is_named(small: Path, home: Home) -> None:
    doctor(small / "pyproject.toml", ">=3.11", ">=3.99")
    with pytest.raises(ReleaseError, match=r"needs Python 3\.99 or newer, this is 3\."):
        install(small, home, fill=refuse)


def test_full_disk_is_said_before_anything_is_written(small: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "ENVIRONMENT_BYTES", 10**18)
    with pytest.raises(ReleaseError, match=r"MB free, a release needs \d+ MB"):
        install(small, home, fill=refuse)
    assert list(home.releases.iterdir()) == []


def test_one_at_a_time(small: Path, home: Home) -> None:
    with home.locked(), pytest.raises(ReleaseError, match="another installation or upgrade"):
        install(small, home, fill=refuse)


def test_current_is_switched_and_the_way_back_is_known(home: Home, tmp_path: Path) -> None:
    first, second, third = releases(home, tmp_path, 3)
    assert home.current_release() is None
    assert home.previous_release() is None
    for release in (first, second, third):
        activate(release)
    assert home.current.readlink() == Path("releases") / third.name
    assert home.previous_release() == second
    activate(second)
    assert (home.current_release(), home.previous_release()) == (second, first)
    activate(second)
    assert (home.current_release(), home.previous_release()) == (second, first)


def test_link_switched_by_hand_is_the_truth(home: Home, tmp_path: Path) -> None:
    first, second, _ = releases(home, tmp_path, 3)
    activate(first)
    activate(second)
    home.current.unlink()
    home.current.symlink_to(f"releases/{first.name}")
    assert (home.current_release(), home.previous_release()) == (first, None)


def releases(home: Home, tmp_path: Path, count: int) -> list[Release]:
    return [
        install(small_source(tmp_path / f"s{number}", f"1.0.{number}"), home, fill=borrow) for number in range(count)
    ]


def test_old_releases_go_but_never_current_or_previous(home: Home, tmp_path: Path) -> None:
    made = releases(home, tmp_path, 6)
    activate(made[0])
    activate(made[1])
    assert prune(home) == ["1.0.2", "1.0.3", "1.0.4"]
    assert [release.name for release in home.installed()] == ["1.0.0", "1.0.1", "1.0.5"]
    assert (home.current_release(), home.previous_release()) == (made[1], made[0])


@pytest.fixture
def running(home: Home, tmp_path: Path) -> Iterator[Path]:
    release = releases(home, tmp_path, 1)[0]
    process = subprocess.Popen([*release.command("timeit", "-n1", "-r1", "input()")], stdin=subprocess.PIPE)
    yield release.path
    process.communicate(b"\n", timeout=10)


def test_release_that_a_process_runs_from_stays(home: Home, running: Path) -> None:
    assert prune(home, keep=0) == []
    assert running.exists()


@pytest.mark.skipif(not os.environ.get("REQUIRE_TOOLS"), reason="half a minute of pip: set REQUIRE_TOOLS=1, as CI does")
def test_environment_is_filled_by_hash_and_at_its_final_path(original: Path, home: Home, tmp_path: Path) -> None:
    """The real way, once: pip, the lock, scripts and paths."""
    release = install(original, home)
    environment = release.path / ".venv"
    assert (environment / ".installed").exists()
    script = (environment / "bin" / "gatehouse").read_text()
    assert script.startswith(f"#!{environment}/bin/python")
    shown = subprocess.run(
        [environment / "bin" / "gatehouse", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert release.name in shown.stdout
    activate(release)
    told = "import edge, aiohttp; print(edge.__file__); print(aiohttp.__file__)"
    found = subprocess.run(
        [home.current / ".venv/bin/python", "-P", "-c", told], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert found[0] == f"{release.path}/edge/__init__.py"
    assert "/.venv/lib/" in found[1]
    assert json.loads((release.path / "release.json").read_text())["digest"] == release.digest
