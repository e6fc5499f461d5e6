"""A production set-up in a directory of any machine: settings and secrets, for `gatehouse up` or containers."""

from pathlib import Path

from ops.setup import common_steps, settings_file
from ops.setup.answers import Answers
from ops.setup.common_steps import make_database, make_secrets, write_settings
from ops.setup.machine import Machine
from ops.setup.secret_files import SecretFiles
from ops.setup.step import Step

ENV_FILE = Path("/.env")
VAR = Path("/var")


def known(directory: Path) -> dict[str, str]:
    """The settings of an earlier run."""
    return common_steps.known(Machine(directory), ENV_FILE, VAR / "secrets")


def settings(directory: Path, answers: Answers) -> dict[str, str]:
    """What the settings file is going to say."""
    machine = Machine(directory)
    found = settings_file.values(machine.read(ENV_FILE) or "")
    once = common_steps.before(known(directory), is_host=False)
    return {**answers.settings_over(found, once), "GATEHOUSE_VAR": str(machine.at(VAR))}


def faults(answers: Answers) -> list[str]:
    found = []
    if answers.database == "local":
        found.append("--database: `local` is for --host; give a URL, an --admin-url, or `embedded`")
    if answers.store == "local":
        found.append("--store: `local` is for --host; give a URL or `embedded`")
    return found


def steps(directory: Path, answers: Answers, *, only_shows: bool = False, renews: bool = False) -> list[Step]:
    machine = Machine(directory, only_shows=only_shows)
    kept = SecretFiles(machine, VAR / "secrets", settings_file.values(machine.read(ENV_FILE) or ""))
    wanted = settings(directory, answers)
    header = {"var": str(machine.at(VAR)), "reload": f"`gatehouse restart` in {directory}"}
    return [
        Step("Directories", lambda: _folders(machine)),
        Step("Settings", lambda: write_settings(machine, ENV_FILE, wanted, header=header, mode=0o600, group="root")),
        Step("Secrets", lambda: make_secrets(kept, answers)),
        Step("Database", lambda: make_database(machine, kept, answers, renews=renews)),
    ]


def _folders(machine: Machine) -> list[str]:
    made = [path for path in (VAR, VAR / "secrets") if machine.directory(path, 0o700)]
    return [f"{machine.at(path)} made (0700)" for path in made]
