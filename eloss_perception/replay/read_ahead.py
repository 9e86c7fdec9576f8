# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Prepares messages in a thread before they are due, so that an expensive one delays no other.

A scan that is corrupted takes longer than a sweep on a small machine. Published late it would come
in a burst with its successors, and a subscriber that keeps the newest alone would not see it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

from eloss_perception.errors import DataError
from eloss_perception.interrupts import check_interrupt
from eloss_perception.replay.playback import DueMessage

# About a hundred scans of 100,000 points.
_MAX_BYTES = 256 << 20
# A bag may be damaged all over: about what an error takes.
_DAMAGE_BYTES = 4096
# A signal is looked at this often while nothing is ready.
_SLICE_S = 0.05


class ReadAhead:
    """Iterates over messages that a thread of its own prepares; a context that ends the thread.

    Args:
        make: Given what to call with damage, returns the messages. It runs in the thread.
        on_damage: Called where the damage lies in the order of the messages, by who iterates.
    """

    def __init__(
        self,
        make: Callable[[Callable[[DataError], None]], Iterable[DueMessage]],
        on_damage: Callable[[DataError], None],
    ) -> None:
        self._make = make
        self._on_damage = on_damage
        self._ready: deque[DueMessage | DataError] = deque()
        self._num_bytes = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_finished = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._prepare, name="read_ahead", daemon=True)

    def __enter__(self) -> ReadAhead:
        self._thread.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def __iter__(self) -> Iterator[DueMessage]:
        """Yields the messages in their order.

        Raises:
            DataError: Or whatever else the preparing of the next message raised.
        """
        while True:
            with self._changed:
                while not self._changed.wait_for(self._has_news, _SLICE_S):
                    check_interrupt()
                if not self._ready:
                    if self._failure is not None:
                        raise self._failure
                    return
                item = self._ready.popleft()
                self._num_bytes -= _size_of(item)
                self._changed.notify_all()
            if isinstance(item, DataError):
                self._on_damage(item)
            else:
                yield item

    def _has_news(self) -> bool:
        return bool(self._ready) or self._is_finished

    def _prepare(self) -> None:
        try:
            for message in self._make(self._put):
                self._put(message)
        except _ClosedError:
            pass
        except BaseException as error:  # told where it would have been without the thread
            self._failure = error
        finally:
            with self._changed:
                self._is_finished = True
                self._changed.notify_all()

    def _put(self, item: DueMessage | DataError) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._num_bytes < _MAX_BYTES)
            if self._is_closed:
                raise _ClosedError
            self._ready.append(item)
            self._num_bytes += _size_of(item)
            self._changed.notify_all()


class _ClosedError(Exception):
    """Ends the thread of one who has seen enough."""


def _size_of(item: DueMessage | DataError) -> int:
    return len(item.data) if isinstance(item, DueMessage) else _DAMAGE_BYTES
