# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The process around the detector node: signals, spinning, the exit code.

The main thread does nothing but load and wait, because only there does Python run signal handlers;
rclpy's executor has a thread of its own. This module imports nothing slow, so that a signal finds
its handler installed from the start.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

# Loading a network cannot be interrupted cleanly. After this time nothing is left worth waiting
# for: the node writes no files.
_GRACE_PERIOD_S = 1.2


class StopRequest:
    """Set by SIGINT or SIGTERM; ends the process by itself if that takes too long."""

    def __init__(self) -> None:
        self._event = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._event.is_set():
            last_resort = threading.Timer(_GRACE_PERIOD_S, os._exit, (0,))
            last_resort.daemon = True
            last_resort.start()
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether the process was asked to stop."""
        return self._event.is_set()

    def set(self) -> None:
        """Asks from inside, without the limit in time."""
        self._event.set()

    def wait(self) -> None:
        """Waits until the process is asked to stop."""
        # A timeout, because a wait without one would not let a signal handler run on all systems.
        while not self._event.wait(timeout=1.0):
            pass


def main(args: list[str] | None = None) -> int:
    """Runs `detector_node` until SIGINT or SIGTERM.

    Returns:
        0 after a signal; 1 where the node could not start, with one line on stderr.
    """
    stop = StopRequest()
    # As in `cli.py`: numpy's own threads would spin on the cores of the network's.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    # Imported now that signals are taken care of: rclpy and numba take most of a second.
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from eloss_perception.errors import ElossError
    from eloss_perception.ros.large_messages import prepare_for_large_messages
    from eloss_perception.ros.log_bridge import bridge_log, log_arguments
    from eloss_perception.ros.node import DetectorNode
    from eloss_perception.runtime.backend_recovery import is_any_loading

    if stop.is_set:
        return 0
    prepare_for_large_messages()
    try:
        arguments = [*(sys.argv if args is None else args), *log_arguments()]
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # what rclpy's errors of arguments have in common
        return _refuse(error)
    executor = SingleThreadedExecutor()
    spinning_failure: list[BaseException] = []

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            pass
        except BaseException as error:  # Not handled: raised again in the main thread.
            spinning_failure.append(error)
            stop.set()

    spinner = threading.Thread(target=spin, name="executor", daemon=True)
    node: DetectorNode | None = None
    is_well = False
    try:
        node = DetectorNode(on_failure=stop.set)
        bridge_log(node.get_logger())
        executor.add_node(node)
        if node.settings.autostart:
            node.start()
        spinner.start()
        stop.wait()
        executor.shutdown(timeout_sec=0.5)
        spinner.join(timeout=0.5)
        node.close()
        for failure in (*spinning_failure, node.worker_failure):
            if failure is not None:
                raise failure
        is_well = True
        return 0
    except ElossError as error:
        return _refuse(error)
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        if is_well and is_any_loading():
            os._exit(0)  # all else is closed


def _refuse(error: Exception) -> int:
    sys.stderr.write(f"detector_node: {' '.join(str(error).split())}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
