# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that works on scans; one that hangs in native code can only be left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Generic, TypeVar

from eloss_perception.ros.mailbox import Mailbox

_Item = TypeVar("_Item")


class Worker(Generic[_Item]):
    """Takes items from a mailbox, one after the other, until that is closed.

    Attributes:
        mailbox: Where the items come from.
        is_left_behind: Whether what comes of the item in work is not wanted any more.
    """

    def __init__(
        self,
        mailbox: Mailbox[_Item],
        work: Callable[[_Item, Worker[_Item]], None],
        on_failure: Callable[[BaseException], None],
        after: Worker[_Item] | None = None,
    ) -> None:
        """Begins to work.

        Args:
            mailbox: Where the items come from.
            work: Called with each of them and this worker.
            on_failure: Called with what `work` raises, which ends the worker.
            after: A worker to wait for, where both use the same.
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
        """Whether its thread has not ended."""
        return self._thread.is_alive()

    def leave_behind(self) -> _Item | None:
        """Ends it once it comes back, and lets it give nothing out any more.

        Returns:
            What was in work and not given out.
        """
        with self._lock:
            self.is_left_behind = True
            item, self._item = self._item, None
            return item

    @contextmanager
    def giving_out(self) -> Iterator[bool]:
        """Within it the item in work is given out; yields whether it is still wanted."""
        with self._lock:
            yield not self.is_left_behind
            self._item = None

    def join(self, timeout: float | None = None) -> bool:
        """Waits until its thread has ended; returns whether it has."""
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
        except BaseException as error:  # Not handled: the main thread will end with it.
            if not self.is_left_behind:
                self._on_failure(error)


def giving_out(worker: Worker[_Item] | None) -> AbstractContextManager[bool]:
    """`Worker.giving_out`, or what is always wanted where there is no worker."""
    return nullcontext(True) if worker is None else worker.giving_out()
