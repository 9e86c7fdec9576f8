# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the package says through `logging`, in the node's log: engines built, backends lost.

And where that log goes to.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from rclpy.impl.rcutils_logger import RcutilsLogger

from eloss_perception.errors import printable

_MAX_LINE = 2000


class RosLogHandler(logging.Handler):
    """Hands records to a node's logger."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Logs one record at its own severity."""
        text = printable(record.getMessage(), _MAX_LINE)
        # One call per severity and line: rclpy remembers the severity of the line that calls it.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def bridge_log(logger: RcutilsLogger) -> None:
    """Shows the package's records in a node's log, from now on."""
    package = logging.getLogger(__name__.partition(".")[0])
    package.addHandler(RosLogHandler(logger))
    package.setLevel(logging.INFO)
    package.propagate = False  # else Python prints warnings a second time


def log_arguments() -> list[str]:
    """Arguments for ``rclpy.init`` that keep ROS from log files where these have no place.

    It refuses to start otherwise: users of containers and services often have no home.
    """
    home = os.environ.get("ROS_HOME") or "~/.ros"
    folder = Path(os.environ.get("ROS_LOG_DIR") or f"{home}/log")
    if folder.parts[0] == "~":
        folder = Path(os.environ.get("HOME") or os.devnull, *folder.parts[1:])
    existing = next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()
    )
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return []
    return ["--ros-args", "--disable-external-lib-logs"]
