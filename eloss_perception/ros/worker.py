# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A thread that works on the newest item, and can be abandoned where it hangs in native code.

A detector that is late must not work on the past, so only one item waits. A thread in native code
cannot be stopped: it is left behind, and another one takes over its mailbox.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
        """Whether no item waits."""
        return self._item is None

    def put(self, item: _Item) -> bool:
        """Leaves an item; returns whether an older one was dropped for it."""
        with self._condition:
            was_waiting = self._item is not None
            self._item = item
            self._condition.notify()
            return was_waiting

    def take(self) -> _Item | None:
        """Waits for an item and takes it; returns None once the mailbox is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._is_closed or self._item is not None)
            if self._is_closed:  # An item may have been put in since.
                return None
            item, self._item = self._item, None
            return item

    def close(self) -> bool:
        """Ends all waiting; returns whether an item was dropped."""
        with self._condition:
            was_waiting = self._item is not None
            self._item = None
            self._is_closed = True
            self._condition.notify_all()
            return was_waiting


class Worker(Generic[_Item]):
    """Works on the items of a mailbox, one after the other, until that is closed.

    Attributes:
        mailbox: Where the items come from.
        is_left_behind: Whether the result of the item in work is no longer wanted.
    """

    def __init__(
        self,
        mailbox: Mailbox[_Item],
        work: Callable[[_Item, Worker[_Item]], None],
        on_failure: Callable[[BaseException], None],
        after: Worker[_Item] | None = None,
    ) -> None:
        """Starts the thread.

        Args:
            mailbox: Where the items come from.
            work: Called with each item and this worker.
            on_failure: Called with whatever `work` raises, which ends the worker.
            after: A worker that uses the same detector, and has to end first.
        """
        self.mailbox = mailbox
        self.is_left_behind = False
        self._item: _Item | None = None
        self._lock = threading.Lock()
        self._work, self._on_failure, self._after = work, on_failure, after
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    def leave_behind(self) -> _Item | None:
        """Takes away the worker's right to publish, and ends it if it ever comes back.

        Returns:
            The item in work whose result was not published.
        """
        with self._lock:
            self.is_left_behind = True
            item, self._item = self._item, None
            return item

    @contextmanager
    def publishing(self) -> Iterator[bool]:
        """Publish the result of the item in work within it; yields whether it is still wanted."""
        with self._lock:
            yield not self.is_left_behind
            self._item = None

    def join(self, timeout: float | None = None) -> bool:
        """Waits until the thread has ended; returns whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            if self._after is not None:
                self._after.join()
            while not self.is_left_behind and (item := self.mailbox.take()) is not None:
                self._item = item
                self._work(item, self)
                self._item = None
        except BaseException as error:  # Not handled here: the process ends with it.
            if not self.is_left_behind:
                self._on_failure(error)


def publishing(worker: Worker[_Item] | None) -> AbstractContextManager[bool]:
    """Returns `worker.publishing()`; without a worker every result is wanted."""
    return nullcontext(True) if worker is None else worker.publishing()
