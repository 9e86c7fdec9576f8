# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's own eye on the ROS graph: is the detector active, and how does it feel?"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor

from eloss_perception.errors import DataError
from eloss_perception.interrupts import StopSignal
from eloss_perception.msg import EntropyHealth
from eloss_perception.ros.middleware import start_rclpy

_SLICE_S = 0.05
_ASK_AGAIN_S = 1.0


class Watch:
    """Context manager with a node that follows the detector.

    Attributes:
        newest: The newest health message; None before the first.
        num_answers: Health messages so far.
    """

    def __init__(self, detector: str, domain_id: int) -> None:
        self._domain_id = domain_id
        self._detector = detector
        self.newest: EntropyHealth | None = None
        self.num_answers = 0

    def __enter__(self) -> Watch:
        self._context = rclpy.Context()
        start_rclpy(context=self._context, domain_id=self._domain_id)
        self._node = rclpy.create_node("demo_watch", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._state_client = self._node.create_client(GetState, f"{self._detector}/get_state")
        self._node.create_subscription(
            EntropyHealth, f"{self._detector}/output/entropy_health", self._on_health, 10
        )
        return self

    def wait_until_active(
        self, stop: StopSignal, timeout_s: float, check: Callable[[], None]
    ) -> None:
        """Returns once the detector is active, or on a signal; `check` may raise meanwhile.

        Raises:
            DataError: It was not active in time.
        """
        give_up = time.monotonic() + timeout_s
        while not stop.is_set:
            check()
            if time.monotonic() > give_up:
                raise DataError(f"{self._detector} was not active after {timeout_s:g} s")
            if not self._state_client.service_is_ready():
                self.spin(_SLICE_S)
                continue
            answer = self._state_client.call_async(GetState.Request())
            ask_again = time.monotonic() + _ASK_AGAIN_S
            while not answer.done() and time.monotonic() < ask_again and not stop.is_set:
                self.spin(_SLICE_S)
            if answer.done() and answer.result().current_state.id == State.PRIMARY_STATE_ACTIVE:
                return
            self.spin(_SLICE_S)

    def spin(self, duration_s: float) -> None:
        """Serves what has arrived, for this long at most."""
        self._executor.spin_once(timeout_sec=duration_s)

    def _on_health(self, message: EntropyHealth) -> None:
        self.newest = message
        self.num_answers += 1

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()
