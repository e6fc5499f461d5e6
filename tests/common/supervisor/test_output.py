"""With a log file, what parent and children say is in it, also after a rename; the terminal hears the parent too."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.common.supervisor.conftest import HERE, WAIT_SECONDS, Start, free_port


async def holding(log: Path, text: str) -> str:
    """The file's content once it holds `text`."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not log.exists() or text not in log.read_text():
            await asyncio.sleep(0.02)
    return log.read_text()


async def test_sentences_stand_in_the_file_and_on_the_terminal(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "sample.log"
    sample = await start(log=str(log))
    assert "sample: ready (1 worker" in await holding(log, "sample: ready")
    sample.configure(faults=["SAMPLE_X: is wrong"])
    log.rename(tmp_path / "older")
    sample.signal(signal.SIGHUP)
    await sample.saying("not reloaded")
    said = await holding(log, "not reloaded")
    assert said.startswith("sample: SAMPLE_X: is wrong\nsample: not reloaded, the old workers stay: its settings")
    assert "SAMPLE_X" not in sample.said  # the check's own words: they are in the file


async def test_a_worker_started_after_a_rename_speaks_into_the_new_file(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "sample.log"
    sample = await start(log=str(log))
    await holding(log, "sample: ready")
    log.rename(tmp_path / "older")
    sample.configure(boot="fail")
    sample.signal(signal.SIGHUP)
    assert "sample: the sample does not want to boot\n" in await holding(log, "not reloaded")


async def test_a_reload_leads_back_to_the_terminal(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "sample.log"
    sample = await start(log=str(log))
    sample.configure(log="", boot="fail")
    sample.signal(signal.SIGHUP)
    await sample.saying("does not want to boot")
    assert "not want" not in log.read_text()


async def test_a_log_that_cannot_be_written_is_refused_by_name(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sample = await start(ready=False, log=str(tmp_path / "file" / "sample.log"))
    assert await sample.ended() == 1
    assert f"sample: its log {tmp_path}/file/sample.log cannot be written: " in sample.said


def test_nothing_is_said_twice_when_the_file_is_standard_error_itself(tmp_path: Path) -> None:
    log, config = tmp_path / "sample.log", tmp_path / "sample.json"
    config.write_text(f'{{"port": {free_port()}, "log": "{log}"}}')
    environ = os.environ | {"PYTHONPATH": str(HERE), "SAMPLE_CONFIG": str(config)}
    with log.open("ab") as inherited:
        process = subprocess.Popen([sys.executable, "-m", "sample"], env=environ, stdout=inherited, stderr=inherited)
    try:
        asyncio.run(holding(log, "sample: ready"))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_SECONDS) == 0
    assert log.read_text().count("sample: ready") == 1
