# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the package logs reaches the node's log, each record at its own severity."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from rclpy.logging import get_logger

from eloss_perception.ros.log_bridge import RosLogHandler, log_arguments


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
