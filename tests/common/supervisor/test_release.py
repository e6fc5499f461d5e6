"""Workers come from the release that is current; those that serve stay with theirs."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.supervisor import release
from tests.releases import ROOT, borrow_environment

if TYPE_CHECKING:
    from .conftest import Sample, Start

_SAMPLE = Path(__file__).parent / "sample"
_LAUNCH = """
import os
os.chdir("{home}/current")
os.execv("{home}/current/.venv/bin/python", ["{home}/current/.venv/bin/python", "-m", "sample"])
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Releases 1 and 2 of the sample, which say so; 1 is current."""
    home = tmp_path / "home"
    for name in ("1", "2"):
        top = home / "releases" / name
        shutil.copytree(_SAMPLE, top / "sample", ignore=shutil.ignore_patterns("__pycache__"))
        app = top / "sample" / "app.py"
        app.write_text(app.read_text().replace('settings.get("version")', f'"release {name}"'))
        borrow_environment(top, paths=[top, ROOT])
    (home / "current").symlink_to("releases/1")
    return home


def switch(home: Path, name: str) -> None:
    (home / "next").symlink_to(f"releases/{name}")
    (home / "next").rename(home / "current")


async def started(start: "Start", home: Path, **settings: object) -> "Sample":
    return await start(launcher=("-c", _LAUNCH.format(home=home)), environ={"PYTHONPATH": ""}, **settings)


async def answering(sample: "Sample") -> str:
    answer = await sample.client().request("POST", "/")
    version: str = answer.json()["version"]
    return version


async def test_reload_runs_the_release_that_is_current_by_then(start: "Start", home: Path) -> None:
    sample = await started(start, home)
    assert await answering(sample) == "release 1"
    switch(home, "2")
    assert await answering(sample) == "release 1"
    sample.signal(signal.SIGHUP)
    await sample.saying("sample: ready", times=2)
    assert await answering(sample) == "release 2"


async def test_worker_that_dies_is_replaced_by_its_own_release(start: "Start", home: Path) -> None:
    sample = await started(start, home)
    (before,) = await sample.pids()
    switch(home, "2")
    os.kill(before, signal.SIGKILL)
    await sample.saying("replacing it")
    assert await answering(sample) == "release 1"


async def test_release_that_does_not_boot_leaves_the_old_workers(start: "Start", home: Path) -> None:
    sample = await started(start, home)
    (home / "releases/2/sample/app.py").write_text("raise RuntimeError('unfinished')\n")
    switch(home, "2")
    sample.signal(signal.SIGHUP)
    await sample.saying("sample: not reloaded")
    assert await answering(sample) == "release 1"
    switch(home, "1")
    sample.signal(signal.SIGHUP)
    await sample.saying("sample: ready", times=2)
    assert await answering(sample) == "release 1"


async def test_dangling_link_refuses_the_reload(start: "Start", home: Path) -> None:
    sample = await started(start, home)
    switch(home, "3")
    sample.signal(signal.SIGHUP)
    await sample.saying("sample: not reloaded, the old workers stay: its settings could not be checked: No such file")
    assert await answering(sample) == "release 1"


async def test_worker_refuses_a_parent_whose_protocol_it_does_not_speak(home: Path) -> None:
    environ = {**os.environ, "GATEHOUSE_PROTOCOL": "99"}
    process = await asyncio.create_subprocess_exec(
        str(home / "current/.venv/bin/python"),
        "-P",
        "-m",
        "sample",
        "check",
        env=environ,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 1
    expected = "sample: the running parent speaks protocol 99, this release does not: restart the service\n"
    assert said.decode() == expected


def test_parents_protocol_is_spoken() -> None:
    assert release.PROTOCOL in release.SPOKEN


def test_interpreter_outside_of_releases_is_our_own(home: Path) -> None:
    assert release.home(sys.executable) is None
    assert release.interpreter() == (sys.executable,)
    assert release.home("/usr/bin/python3") is None
    for inside in ("current", "releases/2"):
        assert release.home(str(home / inside / ".venv/bin/python")) == home
    (home / "current").unlink()
    assert release.home(str(home / "releases/2/.venv/bin/python")) is None
