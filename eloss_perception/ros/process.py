# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The process around the detector node: signals, threads, the exit code.

The main thread does nothing but wait, because only there does Python run signal handlers; all the
rest, imports included, may be in native code for as long as it likes. This module imports nothing
slow, so that a signal finds its handler installed from the start.
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

# What has not been closed by now never will be, and the node writes no files.
_GRACE_PERIOD_S = 1.2
# How long it takes at most until a signal is noticed.
_LOOK_S = 0.05
# An exit code without a word why helps nobody, but whoever reads stderr may be stuck.
_SAY_S = 5.0
_MAX_LINE = 4000
_PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep


class StopRequest:
    """Set by SIGINT or SIGTERM, or by a failure.

    Attributes:
        exit_code: What the process will end with.
        is_begun: Whether there is something to close.
        saying: Held while it is said what failed.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self.is_begun = False
        self.saying = threading.Lock()
        self._failed = threading.Event()
        self._signals: dict[int, FrameType | None] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            # Compiled, so that it cannot be interrupted: a handler in Python may be, by the next
            # signal, until the stack is full, and one that takes a lock may wait for itself.
            signal.signal(number, self._signals.setdefault)

    def fail(self, error: BaseException | None) -> None:
        """Says what went wrong and ends the process with it, unless it is ending already."""
        is_bug = not isinstance(error, ElossError)
        with self.saying:
            if self.is_set:  # What breaks while all is closed is no news.
                return
            # At once: a signal may come while it is printed.
            self.exit_code = BUG if is_bug else HANGS if isinstance(error, HangError) else REFUSED
            with suppress(Exception):  # whoever read stderr may be gone
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
            self._failed.wait(timeout=_LOOK_S)


def main(args: list[str] | None = None) -> NoReturn:
    """Runs `detector_node` until SIGINT or SIGTERM, and ends the process.

    Its exit code is 0 after a signal; 1 where the node could not start, with one line on stderr; 70
    after a bug, with a traceback; 75 where the backend hung for `hang_exit_timeout`.
    """
    stop = StopRequest()
    # As in `cli.py`: numpy's own threads would spin on the cores of the network's.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    body = threading.Thread(target=_run, args=(args, stop), name="node", daemon=True)
    body.start()
    stop.wait()
    body.join(timeout=_GRACE_PERIOD_S if stop.is_begun or stop.exit_code else 0.0)
    stop.saying.acquire(timeout=_SAY_S)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    # Not `sys.exit`: Python would put the default handlers back before it ends, so that one more
    # signal killed it, and abort where a thread is in native code.
    os._exit(stop.exit_code)


def _run(args: list[str] | None, stop: StopRequest) -> None:
    """All there is to do, in a thread of its own."""
    try:
        _run_node(args, stop)
    except BaseException as error:  # Whatever it is, the process ends with it.
        stop.fail(error)


def _run_node(args: list[str] | None, stop: StopRequest) -> None:
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from eloss_perception.ros.log_bridge import bridge_log, log_arguments
    from eloss_perception.ros.node import DetectorNode
    from eloss_perception.ros.shared_memory import remove_orphans

    remove_orphans()
    stop.is_begun = True
    if stop.is_set:
        return
    try:
        arguments = [*(sys.argv if args is None else args), *log_arguments()]
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # what rclpy's errors of arguments have in common
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
    """Spins; what rclpy itself cannot take of a message or request is dropped and said.

    Whoever is on the bus may send a `/clock` before 1970 or a text that is none.
    """
    from rclpy.executors import ExternalShutdownException

    while True:
        try:
            executor.spin()
            return
        except ExternalShutdownException:
            return
        except Exception as error:
            if stop.is_set:  # It is being shut down under the hands of this thread.
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
    """Goes on after a message that rclpy could not take, which it had not foreseen."""
    for node in executor.get_nodes():
        node.get_logger().warning(
            f"dropped what rclpy cannot take: {type(error).__name__}: {printable(error, 300)}",
            throttle_duration_sec=1.0,
        )
        entities = (node.subscriptions, node.services, node.timers, node.clients, node.waitables)
        for entity in chain(*entities):
            entity._executor_event = False
            with suppress(AssertionError):  # it was another one
                entity.callback_group.ending_execution(entity)


if __name__ == "__main__":
    main()
