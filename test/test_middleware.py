# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The package's log in the node's, log files, and orphaned shared memory."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from rclpy.logging import get_logger

from eloss_perception.ros.middleware import RosLogHandler, log_arguments, remove_orphans

NAME = "fastrtps_017b8b884265d8db"


def test_each_record_keeps_its_severity(capfd: pytest.CaptureFixture[str]) -> None:
    handler = RosLogHandler(get_logger("bridge_test"))
    log = logging.getLogger("eloss_perception.bridge_test")
    log.addHandler(handler)
    before, log.propagate = log.propagate, False
    log.setLevel(logging.INFO)
    try:
        for _ in range(2):  # rclpy refuses a line of code that changes its severity
            log.debug("unsaid")
            log.info("engine: %d %%", 40)
            log.warning("backend lost")
            log.error("cannot log")
    finally:
        log.removeHandler(handler)
        log.propagate = before
    output = "".join(capfd.readouterr())
    lines = [line for line in output.splitlines() if "bridge_test" in line]
    said = [(line.split("]")[0].lstrip("["), line.rpartition("]: ")[2]) for line in lines]
    expected = [("INFO", "engine: 40 %"), ("WARN", "backend lost"), ("ERROR", "cannot log")]
    assert said == expected * 2


@pytest.mark.parametrize("variable", ["HOME", "ROS_HOME", "ROS_LOG_DIR"])
def test_log_files_are_done_without_where_there_is_no_place_for_them(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ROS_HOME", "ROS_LOG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "made" / "later"))
    assert log_arguments() == []
    (tmp_path / "file").touch()
    for nowhere in (tmp_path / "file", tmp_path / "file" / "below", Path(os.devnull)):
        monkeypatch.setenv(variable, str(nowhere))
        assert log_arguments() == ["--ros-args", "--disable-external-lib-logs"]
    if variable == "HOME":
        monkeypatch.delenv("HOME")
        assert log_arguments() != []


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
