# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Orphaned shared memory: what is removed, and above all what is not."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from eloss_perception.ros.shared_memory import remove_orphans

NAME = "fastrtps_017b8b884265d8db"


def segment(folder: Path, name: str = NAME, age_s: float = 60.0) -> Path:
    path = folder / name
    path.write_bytes(bytes(100))
    lock = folder / f"{name}_el"
    lock.touch()
    then = time.time() - age_s
    os.utime(lock, (then, then))
    return path


def test_a_segment_that_nobody_holds_is_removed_with_its_lock(tmp_path: Path) -> None:
    segment(tmp_path)
    segment(tmp_path, "fastdds_0123456789abcdef")
    assert remove_orphans(tmp_path) == 2
    assert list(tmp_path.iterdir()) == []


def test_what_may_be_in_use_stays(tmp_path: Path) -> None:
    held = segment(tmp_path)
    with open(tmp_path / f"{NAME}_el") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove_orphans(tmp_path) == 0
    assert held.exists()
    segment(tmp_path, age_s=1.0)  # its process has not come to lock it yet
    assert remove_orphans(tmp_path) == 0


def test_what_is_not_a_segment_stays(tmp_path: Path) -> None:
    for name in ("fastrtps_port7411_el", "fastrtps_017b_el", "notes_el", f"x{NAME}_el"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / f"{NAME}_el").symlink_to(tmp_path / "notes_el")
    os.mkfifo(tmp_path / "fastrtps_0000000000000000_el")
    assert remove_orphans(tmp_path / "nothing") == 0
    before = sorted(tmp_path.iterdir())
    remove_orphans(tmp_path)
    assert [p for p in before if not p.is_fifo()] == sorted(
        p for p in tmp_path.iterdir() if not p.is_fifo()
    )
