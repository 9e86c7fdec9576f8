# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The process around the detector node: signals, threads, the exit code.

The main thread only waits, because Python runs signal handlers nowhere else; everything else,
imports included, happens in other threads, which may be in native code for long. This module
imports nothing slow, so that the handlers are installed from the start.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from eloss_perception.errors import ConfigError, ElossError, HangError, printable

if TYPE_CHECKING:
    from rclpy.executors import Executor

# Exit codes; 70 and 75 mean what they do in sysexits.h: starting the node again may help.
REFUSED = 1
BUG = 70
HANGS = 75

# What has not been closed after this time hangs; the node writes no files that could be lost.
_GRACE_PERIOD_S = 1.2
# After this time at most a signal is noticed.
_POLL_S = 0.05
# An error message is waited for, but not longer than this: the reader of stderr may be stuck.
_PRINT_S = 5.0
_MAX_LINE = 4000
_PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep


class StopRequest:
    """Set by SIGINT or SIGTERM, or by a failure.

    Attributes:
        exit_code: Exit code of the process.
        is_begun: Whether there is something to close.
        printing: Held while an error is printed.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self.is_begun = False
        self.printing = threading.Lock()
        self._failed = threading.Event()
        self._signals: dict[int, FrameType | None] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            # A compiled function, because it cannot be interrupted: a handler in Python may be, by
            # the next signal, until the stack overflows, and one that takes a lock may deadlock.
            signal.signal(number, self._signals.setdefault)

    def fail(self, error: BaseException | None) -> None:
        """Prints an error and ends the process with it, unless it is ending already."""
        is_bug = not isinstance(error, ElossError)
        with self.printing:
            if self.is_set:  # Errors while everything is closed mean nothing.
                return
            # Before printing: a signal may arrive meanwhile.
            self.exit_code = BUG if is_bug else HANGS if isinstance(error, HangError) else REFUSED
            with suppress(Exception):  # the reader of stderr may be gone
                if is_bug:
                    traceback.print_exception(error)
                else:
                    line = printable(" ".join(str(error).split()), _MAX_LINE)
                    sys.stderr.write(f"detector_node: {line}\n")
            self._failed.set()

    @property
    def is_set(self) -> bool:
        """Whether the process is to end."""
        return bool(self._signals) or self._failed.is_set()

    def wait(self) -> None:
        """Waits until the process is to end."""
        while not self.is_set:
            self._failed.wait(timeout=_POLL_S)


def main(args: list[str] | None = None) -> NoReturn:
    """Runs `detector_node` until SIGINT or SIGTERM, and ends the process.

    The exit code is 0 after a signal; 1 if the node could not start, with one line on stderr; 70
    after a bug, with a traceback; 75 if the backend hung for `hang_exit_timeout`.
    """
    stop = StopRequest()
    # As in `cli/__init__.py`: numpy's own threads would spin on the cores that run the network.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    body = threading.Thread(target=_run, args=(args, stop), name="node", daemon=True)
    body.start()
    stop.wait()
    body.join(timeout=_GRACE_PERIOD_S if stop.is_begun or stop.exit_code else 0.0)
    stop.printing.acquire(timeout=_PRINT_S)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    # Not `sys.exit`: Python would restore the default handlers before it ends, so that another
    # signal would kill it, and abort if a thread is in native code.
    os._exit(stop.exit_code)


def _run(args: list[str] | None, stop: StopRequest) -> None:
    try:
        _run_node(args, stop)
    except BaseException as error:  # whatever it is, the process ends with it
        stop.fail(error)


def _run_node(args: list[str] | None, stop: StopRequest) -> None:
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from eloss_perception.ros.middleware import bridge_log, remove_orphans, start_rclpy
    from eloss_perception.ros.node import DetectorNode

    remove_orphans()
    stop.is_begun = True
    if stop.is_set:
        return
    try:
        start_rclpy(sys.argv if args is None else args)
    except RuntimeError as error:  # the base class of rclpy's errors about arguments
        raise ConfigError(str(error)) from None
    node = DetectorNode(on_failure=lambda: stop.fail(node.worker_failure))
    bridge_log(node.get_logger())
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinner = threading.Thread(target=_spin, args=(executor, stop), name="executor", daemon=True)
    spinner.start()
    try:
        if node.settings.autostart:
            node.start()
        stop.wait()
    except BaseException as error:
        stop.fail(error)
    executor.shutdown(timeout_sec=0.5)
    spinner.join(timeout=0.5)
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()


def _spin(executor: Executor, stop: StopRequest) -> None:
    """Spins; drops, with a warning, messages and requests on which rclpy itself fails.

    Anyone on the network may send a `/clock` before 1970 or a string that is not UTF-8.
    """
    from rclpy.executors import ExternalShutdownException

    while True:
        try:
            executor.spin()
            return
        except ExternalShutdownException:
            return
        except Exception as error:
            if stop.is_set:  # The node is being shut down meanwhile.
                return
            frames = traceback.extract_tb(error.__traceback__)[1:]
            if any(frame.filename.startswith(_PACKAGE) for frame in frames) or not frames:
                stop.fail(error)
                return
            _drop(executor, error)
        except BaseException as error:
            stop.fail(error)
            return


def _drop(executor: Executor, error: Exception) -> None:
    """Resets rclpy's state after a message that it could not take."""
    for node in executor.get_nodes():
        node.get_logger().warning(
            "dropped a message that rclpy cannot take: "
            f"{type(error).__name__}: {printable(error, 300)}",
            throttle_duration_sec=1.0,
        )
        entities = (node.subscriptions, node.services, node.timers, node.clients, node.waitables)
        for entity in chain(*entities):
            entity._executor_event = False
            with suppress(AssertionError):  # it was another one
                entity.callback_group.ending_execution(entity)


if __name__ == "__main__":
    main()
