# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where machine code is kept: never where others can write, and nowhere is no reason to fail."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numba
import pytest

from eloss_perception.detection import compiled

ROOT = Path(__file__).resolve().parents[1]
SOURCE = """
from eloss_perception.detection.compiled import njit

@njit
def twice(x):
    return 2 * x
"""


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder; nothing is said of where machine code goes."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache_home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    compiled._cache_folder.cache_clear()
    compiled._warn_once.cache_clear()
    return tmp_path / "cache_home"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "installed"
    folder.mkdir()
    (folder / "kernel.py").write_text(SOURCE)
    return folder


def load(source: Path) -> Any:
    """The compiled function of a source folder, as a new process would see it."""
    spec = importlib.util.spec_from_file_location("kernel", source / "kernel.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.twice


def kept_in(source: Path) -> Path | None:
    function = load(source)
    assert function(21) == 42
    path = function._cache.cache_path
    assert path is None or list(Path(path).glob("*.nbc"))
    return path and Path(path)


def block(folder: Path) -> None:
    """No folder can be made of a file, not by root either."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.touch()


def test_machine_code_is_kept_beside_the_source(source: Path) -> None:
    assert kept_in(source) == source / "__pycache__"


def test_where_others_can_write_nothing_is_kept(source: Path, cache_home: Path) -> None:
    (source / "__pycache__").mkdir()
    (source / "__pycache__").chmod(0o777)
    path = kept_in(source)
    private = cache_home / "eloss_perception" / "numba"
    assert path and path.parent == private and private.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_where_the_folder_is_anothers_nothing_is_kept(source: Path, cache_home: Path) -> None:
    (source / "__pycache__").mkdir()
    os.chown(source / "__pycache__", 12345, -1)
    path = kept_in(source)
    assert path and path.is_relative_to(cache_home)


def test_a_folder_that_the_user_names_is_used(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "named"))
    path = kept_in(source)
    assert path and path.parent == tmp_path / "named"
    assert str(tmp_path / "named") == numba.config.CACHE_DIR


def test_a_named_folder_that_others_can_write_to_is_not(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    named = tmp_path / "named"
    named.mkdir()
    named.chmod(0o777)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(named))
    assert kept_in(source) == source / "__pycache__"
    assert [r.getMessage() for r in caplog.records] == [
        f"NUMBA_CACHE_DIR {named} can be written to by others: another folder is used"
    ]
    assert not list(named.iterdir())


@pytest.mark.parametrize("trap", ["none", "link", "open"])
def test_without_a_home_it_is_a_private_folder_among_the_temporary_ones(
    trap: str, source: Path, cache_home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    block(source / "__pycache__")
    block(cache_home)
    folder = tmp_path / f"eloss_perception-{os.geteuid()}"
    if trap == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    elif trap == "open":
        folder.mkdir(mode=0o755)
    path = kept_in(source)
    if trap == "none":
        assert path and path.parent == folder and folder.stat().st_mode & 0o777 == 0o700
        assert not caplog.records
    else:
        assert path is None and len(caplog.records) == 1
        assert "NUMBA_CACHE_DIR" in caplog.text and "\n" not in caplog.records[0].getMessage()


def test_what_a_power_cut_left_is_made_anew(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept_in(source)
    for damage in (b"", b"\x80", b"garbage"):
        for path in (source / "__pycache__").glob("*.nb?"):
            path.write_bytes(damage)
        compiled._warn_once.cache_clear()
        caplog.clear()
        assert kept_in(source) == source / "__pycache__"
        assert "made anew" in caplog.text
    caplog.clear()
    assert load(source)(21) == 42 and not caplog.records


def test_a_full_disk_costs_a_compilation(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    function = load(source)

    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(function._cache._cache_file, "_open_for_write", refuse)
    assert function(21) == 42
    assert "No space left" in caplog.text


_START = """
from eloss_perception.detection.heads import probability
import eloss_perception.detection.pillar_kernels, eloss_perception.health.scan_statistics, numpy
assert probability(numpy.float32(0)) == 0.5
print(probability._cache.cache_path, sum(probability.stats.cache_hits.values()))
"""


# Another user, who may read whatever the package was installed into.
_NOBODY = 65534
_AS_NOBODY = [
    *("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
]


@pytest.mark.skipif(
    os.geteuid() != 0
    or not shutil.which("setpriv")
    or subprocess.run([*_AS_NOBODY, "true"], check=False).returncode != 0,
    reason="needs root and setpriv to become another user",
)
def test_a_user_without_a_home_starts_from_an_installation_of_root_and_the_next_start_is_warm() -> (
    None
):
    def start() -> list[str]:
        return subprocess.run(
            [*_AS_NOBODY, sys.executable, "-c", _START],
            env={
                **os.environ,
                **{"HOME": "/nonexistent", "TMPDIR": scratch, "PYTHONPATH": str(ROOT)},
                **{"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": ""},
            },
            check=True,
            cwd="/",
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
        ).stdout.split()

    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        os.chmod(scratch, 0o1777)
        for warm in (0, 1):
            path, hits = start()
            assert Path(path).parent == Path(scratch) / f"eloss_perception-{_NOBODY}"
            assert int(hits) == warm
