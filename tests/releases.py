"""Releases for the tests, with environments made in a moment instead of by pip."""

import site
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def borrow_environment(release: Path, *, version: str = "", paths: Sequence[Path] = ()) -> None:
    """A `.venv` of its own whose packages are those of the running one; `release` itself (or `paths`) is found first.

    A path file in site-packages is read as one list of directories: the path files in those are not, so the checkout
    that the tests run from is not found through it.
    """
    venv.EnvBuilder(symlinks=True).create(release / ".venv")
    packages = release / ".venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    borrowed = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (packages / "release.pth").write_text("\n".join([*map(str, paths or [release]), *borrowed]) + "\n")
    if version:
        described = packages / f"gatehouse-{version}.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: gatehouse\nVersion: {version}\n")
