# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages prepared before they are due: all of them, in order, with what went wrong in place."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator

import pytest

from eloss_perception.errors import DataError
from eloss_perception.replay import read_ahead
from eloss_perception.replay.playback import DueMessage
from eloss_perception.replay.read_ahead import ReadAhead

HANG_S = 30.0
OnDamage = Callable[[DataError], None]


def message(number: int, num_bytes: int = 1) -> DueMessage:
    return DueMessage("/a", "a/msg/A", bytes(num_bytes), number, number)


def test_everything_comes_in_order_and_damage_at_its_place() -> None:
    def make(on_damage: OnDamage) -> Iterator[DueMessage]:
        yield message(0)
        on_damage(DataError("behind the first"))
        yield message(1)

    seen: list[int | str] = []
    with ReadAhead(make, lambda error: seen.append(str(error))) as messages:
        for item in messages:
            seen.append(item.bag_ns)
    assert seen == [0, "behind the first", 1]


def test_the_next_messages_are_ready_before_the_first_is_done_with() -> None:
    is_ahead = threading.Event()

    def make(on_damage: OnDamage) -> Iterator[DueMessage]:
        yield from map(message, range(5))
        is_ahead.set()

    with ReadAhead(make, pytest.fail) as messages:
        iterator = iter(messages)
        next(iterator)
        assert is_ahead.wait(HANG_S)
        assert len(list(iterator)) == 4


def test_no_more_is_kept_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "_MAX_BYTES", 10)
    made: list[int] = []

    def make(on_damage: OnDamage) -> Iterator[DueMessage]:
        for number in range(100):
            made.append(number)
            yield message(number, 4)

    with ReadAhead(make, pytest.fail) as messages:
        for taken, item in enumerate(messages):
            assert item.bag_ns == taken
            # Three fit below the limit, the one that exceeds it included; one waits to be added.
            assert len(made) <= taken + 1 + 3 + 1
            if taken == 50:
                break
    assert not [t for t in threading.enumerate() if t.name == "read_ahead"]


def test_what_ends_the_preparation_is_raised_after_what_was_prepared() -> None:
    def make(on_damage: OnDamage) -> Iterator[DueMessage]:
        yield message(0)
        raise DataError("no more")

    with ReadAhead(make, pytest.fail) as messages:
        iterator = iter(messages)
        assert next(iterator).bag_ns == 0
        with pytest.raises(DataError, match="no more"):
            next(iterator)


def test_damage_all_over_is_bounded_and_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read_ahead, "_MAX_BYTES", 3 * read_ahead._DAMAGE_BYTES)
    made: list[int] = []

    def make(on_damage: OnDamage) -> Iterator[DueMessage]:
        yield message(0)
        for number in itertools.count():
            made.append(number)
            on_damage(DataError(f"place {number}"))

    with ReadAhead(make, pytest.fail) as messages:
        assert next(iter(messages)).bag_ns == 0
    assert len(made) <= 4
    assert not [t for t in threading.enumerate() if t.name == "read_ahead"]
