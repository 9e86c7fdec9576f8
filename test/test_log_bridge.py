# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the package logs reaches the node's log, each record at its own severity."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("rclpy")

from rclpy.logging import get_logger

from eloss_perception.ros.log_bridge import RosLogHandler


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
