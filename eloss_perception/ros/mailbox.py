# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One place for the newest item: a detector that is late must not work on the past."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Mailbox(Generic[_Item]):
    """Hands the newest item from one thread to another; an older one still waiting is dropped."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: _Item | None = None
        self._is_closed = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits in it."""
        return self._item is None

    def put(self, item: _Item) -> bool:
        """Leaves an item; returns whether one that nobody had taken was dropped for it."""
        with self._condition:
            was_waiting = self._item is not None
            self._item = item
            self._condition.notify()
            return was_waiting

    def take(self) -> _Item | None:
        """Waits for an item and takes it; None once the mailbox is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._is_closed or self._item is not None)
            if self._is_closed:
                return None
            item, self._item = self._item, None
            return item

    def close(self) -> bool:
        """Ends all waiting; returns whether an item that nobody had taken was dropped."""
        with self._condition:
            was_waiting = self._item is not None
            self._item = None
            self._is_closed = True
            self._condition.notify_all()
            return was_waiting
