# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Makes `change_state` of a lifecycle node one that neither stops the node nor ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future


def make_transitions_in_a_thread(node: LifecycleNode, lock: threading.Lock) -> None:
    """Answers `change_state` from a thread of its own.

    So a network that loads for minutes, or for ever, holds up neither diagnostics nor `get_state`.
    A request that does not fit the state, or comes during another transition, is refused. rclpy
    lets the state machine's error escape from the service's callback, which would end the executor,
    and with it the node, at one wrong request.

    Args:
        node: The node.
        lock: Held during a transition.
    """
    group = ReentrantCallbackGroup()
    for service in node.services:
        if service.srv_type is ChangeState:
            service.callback = _answering(node, lock, service.callback)
            service.callback_group = group
            group.add_entity(service)


def _answering(
    node: LifecycleNode, lock: threading.Lock, change_state: Callable[..., Any]
) -> Callable[..., Any]:
    async def callback(request: Any, response: Any) -> Any:
        response.success = False
        if not lock.acquire(blocking=False):
            node.get_logger().warning("transition refused: another one is being made")
            return response
        executor = node.executor
        answer = Future(executor=executor)

        def work() -> None:
            give = partial(answer.set_result, response)
            try:
                give = partial(answer.set_result, change_state(request, response))
            except RuntimeError as error:  # rclpy's RCLError; what steps raise does not come so far
                node.get_logger().warning(f"transition refused: {' '.join(str(error).split())}")
            except BaseException as error:
                give = partial(answer.set_exception, error)
            lock.release()  # first: whoever has the answer may ask for the next transition at once
            give()
            executor.wake()

        threading.Thread(target=work, name="transition", daemon=True).start()
        return await answer

    return callback
