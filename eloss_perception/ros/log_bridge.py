# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the package says through `logging`, in the node's log: engines built, backends lost."""

from __future__ import annotations

import logging

from rclpy.impl.rcutils_logger import RcutilsLogger


class RosLogHandler(logging.Handler):
    """Hands records to a node's logger."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Logs one record at its own severity."""
        text = record.getMessage()
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
