# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node's transitions as four steps that may fail with one line.

There is no bond with a lifecycle manager: nav2_lifecycle_manager needs `bond_timeout: 0.0`. What
the node is about, diagnostics and health say, STALE included.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from eloss_perception.errors import ElossError, printable
from eloss_perception.ros.transitions import make_transitions_in_a_thread

_MAX_LINE = 1000


class ManagedNode(LifecycleNode):  # type: ignore[misc]
    """A node whose subclass says what to load, begin, end and unload.

    Attributes:
        failure: Why the last transition failed; None while all is well.
        failure_text: The same in one line; empty while all is well.
    """

    def __init__(self, name: str, **node_arguments: object) -> None:
        super().__init__(name, **node_arguments)
        self.failure: Exception | None = None
        self.failure_text = ""
        self._is_starting = False
        self._transition_lock = threading.Lock()
        make_transitions_in_a_thread(self, self._transition_lock)

    def load(self) -> None:
        """Takes what the work needs; an `ElossError` leaves the node unconfigured."""
        raise NotImplementedError

    def begin(self) -> None:
        """Starts to work; an `ElossError` leaves the node inactive."""
        raise NotImplementedError

    def end(self) -> None:
        """Stops to work, in whatever state the node is."""
        raise NotImplementedError

    def unload(self) -> None:
        """Gives back what `load` took, in whatever state the node is."""
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
        """Ends the work and gives everything back, in whatever state the node is."""
        self.end()
        self.unload()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads; fails with a log line where that is not possible."""
        return self._make("configure", self.load, super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts to work."""
        return self._make("activate", self.begin, super().on_activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops to work."""
        return self._make("deactivate", self.end, super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Gives back what was loaded."""
        return self._make("cleanup", self.unload, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops whatever runs."""
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
        except Exception as error:  # A bug: rclpy would drop it without a word.
            place = traceback.extract_tb(error.__traceback__)[-1]
            text = f"bug, {type(error).__name__} at {place.filename}:{place.lineno}: {error}"
            self._report(name, error, text)
            return TransitionCallbackReturn.ERROR
        self.failure, self.failure_text = None, ""
        return follow(state)

    def _report(self, name: str, error: Exception, text: str) -> None:
        """Says why a transition failed; a node that starts itself ends with it (`process.py`)."""
        self.failure = error
        self.failure_text = f"{name} failed: {printable(text, _MAX_LINE)}"
        if not self._is_starting:
            self.get_logger().error(self.failure_text)
