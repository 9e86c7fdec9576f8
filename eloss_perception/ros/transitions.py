# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps a lifecycle node alive when it is asked for a transition that its state does not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode


def refuse_impossible_transitions(node: LifecycleNode) -> None:
    """Makes `change_state` answer a request that does not fit the state.

    rclpy lets the state machine's error escape from the service's callback, which would end the
    executor, and with it the node, at one wrong request.
    """
    for service in node.services:
        if service.srv_type is ChangeState:
            service.callback = _answering(service.callback)


def _answering(change_state: Callable[..., Any]) -> Callable[..., Any]:
    def callback(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except RuntimeError:  # rclpy's RCLError; what transitions raise does not come this far
            response.success = False
            return response

    return callback
