# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node's transitions as four steps that may fail with one line."""

from __future__ import annotations

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from eloss_perception.errors import ElossError
from eloss_perception.ros.transitions import refuse_impossible_transitions


class ManagedNode(LifecycleNode):  # type: ignore[misc]
    """A node whose subclass says what to load, begin, end and unload.

    Attributes:
        failure: Why the last transition failed; None while all is well.
    """

    def __init__(self, name: str, **node_arguments: object) -> None:
        super().__init__(name, **node_arguments)
        self.failure: Exception | None = None
        refuse_impossible_transitions(self)

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
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                raise self.failure or ElossError(f"{trigger.__name__} failed")

    def close(self) -> None:
        """Ends the work and gives everything back, in whatever state the node is."""
        self.end()
        self.unload()

    def report_failure(self, error: ElossError) -> None:
        """Says why a transition failed; `failure` holds it too."""
        self.get_logger().error(str(error))

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads; fails with a log line where that is not possible."""
        try:
            self.load()
        except ElossError as error:
            return self._fail(error)
        except Exception as error:  # A bug: kept, because rclpy drops what a transition raises.
            self.failure = error
            raise
        self.failure = None
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts to work."""
        try:
            self.begin()
        except ElossError as error:
            return self._fail(error)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops to work."""
        self.end()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Gives back what was loaded."""
        self.unload()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops whatever runs."""
        self.close()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, from where a manager may try again."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def _fail(self, error: ElossError) -> TransitionCallbackReturn:
        self.failure = error
        self.report_failure(error)
        return TransitionCallbackReturn.FAILURE
