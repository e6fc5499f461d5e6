"""Sizes are those on disk, of whichever database is in use; what cannot be read is said."""

import os
from pathlib import Path

import pytest

from ops.cli.resources import size_text
from ops.stack import configuration, resources


def test_a_folder_is_measured_as_it_lies_on_disk(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    empty = resources.folder("logs", folder).size_bytes
    (folder / "a").write_bytes(os.urandom(1 << 20))
    (folder / "same").hardlink_to(folder / "a")
    (folder / "below").mkdir()
    (folder / "below" / "b").write_bytes(os.urandom(1 << 20))
    with (folder / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 30)
    os.sync()
    size = resources.folder("logs", folder).size_bytes
    assert size is not None
    assert empty is not None
    assert 2 << 20 <= size - empty < 3 << 20


def test_a_folder_behind_a_link_and_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(os.urandom(1 << 16))
    os.sync()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert resources.folder("x", tmp_path / "link").size_bytes == resources.folder("x", tmp_path / "real").size_bytes
    assert resources.folder("x", tmp_path / "none") == ("x", str(tmp_path / "none"), 0, "")


def test_an_external_database_is_asked_for_its_size(tmp_path: Path, database_url: str, clean_redis_url: str) -> None:
    environ = {
        "DATABASE_URL": database_url,
        "REDIS_URL": clean_redis_url,
        "BACKUP_DIRECTORY": str(tmp_path / "elsewhere"),
        "GATEHOUSE_VAR": str(tmp_path / "var"),
        "GATEHOUSE_ENV_FILE": "/nonexistent",
    }
    read = configuration.read(environ)
    sizes = {size.name: size for size in resources.sizes(read)}
    assert list(sizes) == ["database", "store", "logs", "certificates", "backups"]
    assert (sizes["database"].size_bytes or 0) > 5_000_000
    assert (sizes["store"].size_bytes or 0) > 100_000
    assert sizes["backups"].where == str(tmp_path / "elsewhere")
    assert resources.uses(read) == []


def test_a_url_that_is_none_is_a_size_that_is_not_known(tmp_path: Path, clean_redis_url: str) -> None:
    environ = {
        "DATABASE_URL": "postgresql://u:geheim@%zz",
        "REDIS_URL": clean_redis_url,
        "GATEHOUSE_VAR": str(tmp_path),
    }
    database = resources.sizes(configuration.read({**environ, "GATEHOUSE_ENV_FILE": "/nonexistent"}))[0]
    assert (database.name, database.size_bytes) == ("database", None)
    assert "geheim" not in str(database)
    away = configuration.read({**environ, "DATABASE_URL": "postgresql://u:secret@127.0.0.1:9/x"})
    (database, *_) = resources.sizes(away)
    assert database.size_bytes is None
    assert database.note
    assert "secret" not in f"{database}"


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, "-"), (0, "0 B"), (999, "999 B"), (3_400, "3.4 kB"), (17_200_000, "17.2 MB"), (5_100_000_000, "5.1 GB")],
)
def test_sizes_are_said_shortly(size: int | None, text: str) -> None:
    assert size_text(size) == text
