# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node whose transitions are four steps that may fail with one line.

There is no bond with a lifecycle manager: nav2_lifecycle_manager needs `bond_timeout: 0.0`. The
node's state is in its diagnostics and health, STALE included.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future

from eloss_perception.errors import ElossError, printable

_MAX_LINE = 1000


class ManagedNode(LifecycleNode):  # type: ignore[misc]
    """A node whose subclass says how to load, begin, end and unload.

    Attributes:
        failure: Why the last transition failed; None if it succeeded.
        failure_text: The same in one line; empty if it succeeded.
    """

    def __init__(self, name: str, **node_arguments: object) -> None:
        super().__init__(name, **node_arguments)
        self.failure: Exception | None = None
        self.failure_text = ""
        self._is_starting = False
        self._transition_lock = threading.Lock()
        self._make_transitions_in_a_thread()

    def load(self) -> None:
        """Loads the network; an `ElossError` leaves the node unconfigured."""
        raise NotImplementedError

    def begin(self) -> None:
        """Starts working; an `ElossError` leaves the node inactive."""
        raise NotImplementedError

    def end(self) -> None:
        """Stops working, in whatever state the node is."""
        raise NotImplementedError

    def unload(self) -> None:
        """Frees what `load` took, in whatever state the node is."""
        raise NotImplementedError

    def start(self) -> None:
        """Configures and activates without a lifecycle manager.

        Raises:
            ElossError: If the node cannot be started.
        """
        with self._transition_lock:
            self._is_starting = True
            try:
                for trigger in (self.trigger_configure, self.trigger_activate):
                    if trigger() != TransitionCallbackReturn.SUCCESS:
                        raise self.failure or ElossError(f"{trigger.__name__} failed")
            finally:
                self._is_starting = False

    def close(self) -> None:
        """Stops working and frees everything, in whatever state the node is."""
        self.end()
        self.unload()

    # ------------------------------------------------------------------ rclpy's callbacks

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unconfigured to inactive."""
        return self._make("configure", self.load, super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Inactive to active."""
        return self._make("activate", self.begin, super().on_activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Active to inactive."""
        return self._make("deactivate", self.end, super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Inactive to unconfigured."""
        return self._make("cleanup", self.unload, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Any state to finalized."""
        return self._make("shutdown", self.close, super().on_shutdown, state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, from where a manager may try again."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def _make(
        self,
        name: str,
        step: Callable[[], None],
        follow: Callable[[LifecycleState], TransitionCallbackReturn],
        state: LifecycleState,
    ) -> TransitionCallbackReturn:
        try:
            step()
        except ElossError as error:
            self._report(name, error, str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # A bug, which rclpy would swallow silently.
            place = traceback.extract_tb(error.__traceback__)[-1]
            text = f"bug, {type(error).__name__} at {place.filename}:{place.lineno}: {error}"
            self._report(name, error, text)
            return TransitionCallbackReturn.ERROR
        self.failure, self.failure_text = None, ""
        return follow(state)

    def _report(self, name: str, error: Exception, text: str) -> None:
        self.failure = error
        self.failure_text = f"{name} failed: {printable(text, _MAX_LINE)}"
        if not self._is_starting:  # `start` raises it, and the process ends with it
            self.get_logger().error(self.failure_text)

    # ------------------------------------------------------------------ the service

    def _make_transitions_in_a_thread(self) -> None:
        """Answers `change_state` from a thread of its own.

        A network that takes minutes to load, or hangs, then blocks neither diagnostics nor
        `get_state`.
        """
        group = ReentrantCallbackGroup()
        for service in self.services:
            if service.srv_type is ChangeState:
                service.callback = partial(self._change_state, service.callback)
                service.callback_group = group
                group.add_entity(service)

    async def _change_state(
        self, change_state: Callable[..., Any], request: Any, response: Any
    ) -> Any:
        """Refuses a request that does not fit the state, or comes during another transition.

        rclpy lets the state machine's error escape from the service's callback, which would end the
        executor, and with it the node, at one wrong request.
        """
        response.success = False
        if not self._transition_lock.acquire(blocking=False):
            self.get_logger().warning("transition refused: another one is in progress")
            return response
        executor = self.executor
        answer = Future(executor=executor)

        def work() -> None:
            give = partial(answer.set_result, response)
            try:
                give = partial(answer.set_result, change_state(request, response))
            except RuntimeError as error:  # rclpy's RCLError; `_make` catches what the steps raise
                self.get_logger().warning(f"transition refused: {' '.join(str(error).split())}")
            except BaseException as error:
                give = partial(answer.set_exception, error)
            # Before the answer: whoever gets it may ask for the next transition at once.
            self._transition_lock.release()
            give()
            executor.wake()

        threading.Thread(target=work, name="transition", daemon=True).start()
        return await answer
