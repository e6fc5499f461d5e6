"""Settings: one order of sources, every fault at once."""

from pathlib import Path

import pytest
from pydantic import AliasChoices, Field

from common.settings import CommaList, Settings, SettingsError, load, names, variable, weakness


class Sample(Settings):
    port: int = Field(80, validation_alias=AliasChoices("SAMPLE_PORT", "PORT"))
    secret: str = ""
    hosts: CommaList = ()

    def faults(self) -> list[str]:
        return [] if self.secret else ["SECRET: must be set"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment of nothing but where the other sources are."""
    (tmp_path / "var" / "secrets").mkdir(parents=True)
    (tmp_path / ".env").touch()
    return {"GATEHOUSE_VAR": str(tmp_path / "var"), "GATEHOUSE_ENV_FILE": str(tmp_path / ".env")}


def test_sources_override_one_another_in_order(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / ".env").write_text("SECRET=dotenv\n")
    assert load(Sample, environ).secret == "dotenv"
    (tmp_path / "named").write_text("named\n")
    (tmp_path / ".env").write_text(f"SECRET=dotenv\nSECRET_FILE={tmp_path / 'named'}\n")
    assert load(Sample, environ).secret == "named"
    (tmp_path / "var" / "secrets" / "SECRET").write_text("stored\n")
    assert load(Sample, environ).secret == "stored"
    (tmp_path / "mounted").write_text("file\n")
    environ["SECRET_FILE"] = str(tmp_path / "mounted")
    assert load(Sample, environ).secret == "file"
    environ["SECRET"] = "process"
    assert load(Sample, environ).secret == "process"
    environ["SECRET"] = ""
    assert load(Sample, environ).secret == "file"


def test_settings_file_is_found_by_its_variable_and_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "gatehouse.env"
    environ = {"GATEHOUSE_ENV_FILE": str(file), "GATEHOUSE_VAR": str(tmp_path)}
    assert variable("PORT", environ) is None
    file.write_text("PORT=1\nGATEHOUSE_ENV_FILE=/elsewhere\n")
    assert variable("PORT", environ) == "1"
    file.write_text("PORT=2\n")
    assert variable("PORT", environ) == "2"


def test_settings_file_says_where_the_secrets_are(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "SECRET").write_text("stored\n")
    (tmp_path / "gatehouse.env").write_text(f"GATEHOUSE_VAR={tmp_path}\nSECRET=dotenv\n")
    assert variable("SECRET", {"GATEHOUSE_ENV_FILE": str(tmp_path / "gatehouse.env")}) == "stored"


def test_settings_file_that_cannot_be_read_is_named_and_not_skipped(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"GATEHOUSE_ENV_FILE: .* cannot be read \(IsADirectoryError\)"):
        variable("PORT", {"GATEHOUSE_ENV_FILE": str(tmp_path)})
    (tmp_path / "binary").write_bytes(b"PORT=\xff")
    with pytest.raises(SettingsError, match=r"GATEHOUSE_ENV_FILE: .*/binary cannot be read"):
        variable("PORT", {"GATEHOUSE_ENV_FILE": str(tmp_path / "binary")})


def test_every_fault_is_named_at_once(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(Sample, {**environ, "PORT": "http", "LOG_LEVEL": "LOUD"})
    assert {line.partition(":")[0] for line in str(caught.value).splitlines()} == {"PORT", "LOG_LEVEL", "SECRET"}


def test_missing_secret_file_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="SECRET_FILE: /nowhere does not exist"):
        load(Sample, {**environ, "SECRET_FILE": "/nowhere"})


def test_first_alias_wins(environ: dict[str, str]) -> None:
    assert load(Sample, {**environ, "SECRET": "x", "PORT": "1", "SAMPLE_PORT": "2"}).port == 2
    assert names(Sample)["port"] == ("SAMPLE_PORT", "PORT")
    assert names(Sample)["secret"] == ("SECRET",)


@pytest.mark.parametrize("text", ["a, b,", '["a", "b"]', ' ["a","b"]'])
def test_lists_are_written_with_commas_or_as_json(environ: dict[str, str], text: str) -> None:
    assert load(Sample, {**environ, "SECRET": "x", "HOSTS": text}).hosts == ("a", "b")


def test_malformed_json_list_is_a_fault(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="HOSTS"):
        load(Sample, {**environ, "SECRET": "x", "HOSTS": "[a"})


@pytest.mark.parametrize("secret", ["", "short", "x" * 64, "changeme-" * 8, "your-secret-key-of-32-characters!!"])
def test_weak_secret_is_recognised(secret: str) -> None:
    assert weakness(secret)


def test_random_secret_is_strong() -> None:
    assert weakness("nS0c5Vb2Xq9LrT7wYkPz3HdJ8mGfA1eU") is None
