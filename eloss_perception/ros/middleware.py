# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How this package's processes start rclpy: signals, logs, and Fast DDS's shared memory."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.signals import SignalHandlerOptions

from eloss_perception.errors import printable

_MAX_LINE = 2000

# Fast DDS 2 (Humble, Jazzy) and 3 (later) read different variables.
_PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_PROFILE = Path("config") / "fastdds_large_messages.xml"

_SHARED_MEMORY = Path("/dev/shm")
_LOCK_FILE = re.compile(r"fast(rtps|dds)_[0-9a-f]{16}_el")
# The file is there a moment before its lock is.
_MIN_AGE_S = 10.0


def start_rclpy(
    arguments: Sequence[str] = (), context: Context | None = None, domain_id: int | None = None
) -> None:
    """Initialises rclpy without its signal handlers, which would hide signals from our own.

    Args:
        arguments: ROS arguments.
        context: The context to initialise; None for the default one.
        domain_id: ROS domain; None for that of the environment.
    """
    rclpy.init(
        args=[*arguments, *log_arguments()],
        context=context,
        domain_id=domain_id,
        signal_handler_options=SignalHandlerOptions.NO,
    )


class RosLogHandler(logging.Handler):
    """Hands records to a node's logger."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__(logging.INFO)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Logs one record at its own severity."""
        text = printable(record.getMessage(), _MAX_LINE)
        # One line per severity: rclpy remembers the severity of each line that calls it.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def bridge_log(logger: RcutilsLogger) -> None:
    """Shows what the package logs (engines built, backends lost) in a node's log."""
    package = logging.getLogger(__name__.partition(".")[0])
    package.addHandler(RosLogHandler(logger))
    package.setLevel(logging.INFO)
    package.propagate = False  # else Python prints warnings a second time


def log_arguments() -> list[str]:
    """Returns ROS arguments that disable log files where none can be written.

    rclpy refuses to start otherwise: users of containers and services often have no home.
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


def prepare_for_large_messages() -> None:
    """Gives Fast DDS our profile for scans of 2 MB, unless the user has set one.

    To be called before rclpy is initialised. Other middleware ignores the variables.
    """
    if any(name in os.environ for name in _PROFILE_VARIABLES):
        return
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    candidates = [Path(__file__).resolve().parents[2] / _PROFILE]
    candidates += [Path(p) / "share" / "eloss_perception" / _PROFILE for p in prefixes if p]
    for path in candidates:
        if path.is_file():
            os.environ.update(dict.fromkeys(_PROFILE_VARIABLES, str(path)))
            return


def remove_orphans(folder: Path = _SHARED_MEMORY) -> int:
    """Removes shared memory that killed processes of this user left behind, before it fills up.

    Fast DDS gives each participant a segment, and holds a lock on the file beside it as long as the
    process lives. As `fastdds shm clean`, this goes by that lock; it is the kernel's, so it also
    tells of processes in other containers.

    Returns:
        The number of segments removed.
    """
    num_removed = 0
    with suppress(OSError):  # no such folder, or not readable for us
        for entry in os.scandir(folder):
            if _LOCK_FILE.fullmatch(entry.name) is not None:
                with suppress(OSError):  # in use, gone meanwhile, or another user's
                    num_removed += _remove_if_orphaned(Path(entry.path))
    return num_removed


def _remove_if_orphaned(lock_file: Path) -> bool:
    handle = os.open(lock_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid() or time.time() - status.st_mtime < _MIN_AGE_S:
            return False
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock_file.with_name(lock_file.name.removesuffix("_el")).unlink(missing_ok=True)
        lock_file.unlink()
        return True
    finally:
        os.close(handle)
