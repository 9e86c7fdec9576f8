# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Backends that fail while running: who takes the next frame, what is said, what is freed."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import numpy as np
import pytest
from processes import wait_for

from eloss_perception.errors import BackendError
from eloss_perception.runtime.backend_recovery import RecoveringBackend, state_of
from eloss_perception.runtime.backends import Auto

POINTS = np.zeros((1, 4), np.float32)


class FakeBackend:
    """Answers with its own name and number, or fails."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.description = f"{name} number {number}"
        self.error: Exception | None = None
        self.is_closed = False
        self.close_error: Exception | None = None

    def pillarize(self, points: Any) -> Any:
        return self.number

    def run(self, pillars: Any) -> Any:
        assert pillars == self.number, "the frame was begun on another backend"
        assert not self.is_closed
        if self.error is not None:
            raise self.error
        return f"{self.name} {self.number}"

    def close(self) -> None:
        self.is_closed = True
        if self.close_error is not None:
            raise self.close_error


class Loader:
    """Loads fakes and keeps them; fails or waits where told."""

    def __init__(self) -> None:
        self.made: list[FakeBackend] = []
        self.errors: dict[str, Exception] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.num_calls = 0

    def __call__(self, name: str) -> Any:
        self.num_calls += 1
        assert self.gate.wait(60.0)
        if name in self.errors:
            raise self.errors[name]
        self.made.append(FakeBackend(name, len(self.made)))
        return self.made[-1]


class Clock:
    """Stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def loader() -> Loader:
    return Loader()


def frame(backend: RecoveringBackend) -> str:
    return str(backend.run(backend.pillarize(POINTS)))


def fail(backend: RecoveringBackend, count: int) -> list[str]:
    reasons = []
    for _ in range(count):
        with pytest.raises(BackendError) as caught:
            frame(backend)
        reasons.append(str(caught.value))
    return reasons


def is_loading(backend: RecoveringBackend) -> bool:
    return any(slot.loading is not None and not slot.loading.done() for slot in backend._slots)


def test_a_single_failed_frame_costs_that_frame_only(loader: Loader, clock: Clock) -> None:
    backend = RecoveringBackend(loader, ["gpu"], 3, clock)
    gpu = loader.made[0]
    for _ in range(4):  # never three in a row
        gpu.error = BackendError("out of memory")
        assert fail(backend, 2) == ["out of memory"] * 2
        gpu.error = None
        assert frame(backend) == "gpu 0"
    assert backend.state.num_failures == 8
    assert (backend.state.fault, backend.state.num_reloads, loader.num_calls) == ("", 0, 1)


def test_without_a_fallback_frames_fail_with_the_reason_until_it_is_loaded_again(
    loader: Loader, clock: Clock
) -> None:
    backend = RecoveringBackend(loader, ["gpu"], 3, clock)
    loader.made[0].error = BackendError("device lost")
    fail(backend, 3)
    assert loader.made[0].is_closed
    assert backend.state.name == ""
    # Not at once, and not every frame.
    assert fail(backend, 5) == ["no backend runs: gpu failed: device lost"] * 5
    assert loader.num_calls == 1
    loader.gate.clear()
    clock.now += 1.0
    fail(backend, 5)  # a load that takes long holds no frame up: the gate is still closed
    assert loader.num_calls == 2
    loader.gate.set()
    assert wait_for(lambda: not is_loading(backend))
    assert frame(backend) == "gpu 1"
    assert backend.state.fault == ""
    assert backend.state.num_reloads == 1
    assert backend.state.num_failures == 13


def test_pauses_grow_to_a_minute_while_loading_fails_and_shrink_when_it_is_well(
    loader: Loader, clock: Clock
) -> None:
    backend = RecoveringBackend(loader, ["gpu"], 1, clock)
    loader.made[0].error = BackendError("device lost")
    loader.errors["gpu"] = BackendError("no device")

    def pauses(count: int) -> list[float]:
        found = []
        for _ in range(count):
            calls, start = loader.num_calls, clock.now
            while loader.num_calls == calls:
                clock.now += 0.5
                fail(backend, 1)
            found.append(clock.now - start)
            assert wait_for(lambda: not is_loading(backend))
            fail(backend, 1)  # sees the outcome
        return found

    fail(backend, 1)
    assert pauses(9) == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert backend.state.fault == "no backend runs: gpu failed: no device"
    del loader.errors["gpu"]
    clock.now += 60.0
    fail(backend, 1)
    assert wait_for(lambda: not is_loading(backend))
    for _ in range(100):
        assert frame(backend) == "gpu 1"
    loader.made[1].error = BackendError("device lost")
    loader.errors["gpu"] = BackendError("no device")
    fail(backend, 1)
    assert pauses(2) == [1.0, 2.0]


def test_the_fallback_takes_over_and_gives_back(loader: Loader, clock: Clock) -> None:
    backend = RecoveringBackend(loader, ["gpu", "cpu"], 2, clock)
    assert [fake.name for fake in loader.made] == ["gpu", "cpu"]  # known to work beforehand
    gpu, cpu = loader.made
    assert frame(backend) == "gpu 0"
    gpu.error = BackendError("out of memory")
    fail(backend, 2)
    assert frame(backend) == "cpu 1"
    state = backend.state
    assert (state.name, state.description) == ("cpu", "cpu number 1")
    assert state.fault == "running on cpu: gpu failed: out of memory"
    loader.gate.clear()
    clock.now += 1.0
    assert [frame(backend) for _ in range(3)] == ["cpu 1"] * 3  # meanwhile the other is loaded
    assert loader.num_calls == 3
    loader.gate.set()
    assert wait_for(lambda: not is_loading(backend))
    assert frame(backend) == "gpu 2"
    assert (backend.state.name, backend.state.fault) == ("gpu", "")
    assert not cpu.is_closed


def test_both_may_fail_and_both_come_back(loader: Loader, clock: Clock) -> None:
    backend = RecoveringBackend(loader, ["gpu", "cpu"], 1, clock)
    for fake in loader.made:
        fake.error = BackendError(f"{fake.name} broke")
        fake.close_error = BackendError("cannot even be closed")
    fail(backend, 2)
    expected = "no backend runs: gpu failed: gpu broke; cpu failed: cpu broke"
    assert fail(backend, 1) == [expected]
    loader.errors["gpu"] = BackendError("no device")
    clock.now += 1.0
    for _ in range(2):  # one is loaded after the other
        fail(backend, 1)
        assert wait_for(lambda: not is_loading(backend))
    assert frame(backend) == "cpu 2"
    assert backend.state.fault == "running on cpu: gpu failed: no device"


def test_a_frame_stays_where_it_was_begun(loader: Loader, clock: Clock) -> None:
    backend = RecoveringBackend(loader, ["gpu", "cpu"], 1, clock)
    gpu = loader.made[0]
    gpu.error = BackendError("once")
    fail(backend, 1)
    clock.now += 1.0
    pillars = backend.pillarize(POINTS)
    assert wait_for(lambda: not is_loading(backend))
    assert backend.run(pillars) == "cpu 1"
    assert frame(backend) == "gpu 2"


def test_a_failure_to_pillarize_counts_and_a_bug_is_none(loader: Loader, clock: Clock) -> None:
    backend = RecoveringBackend(loader, ["gpu"], 2, clock)

    def broken(points: Any) -> Any:
        raise BackendError("no kernel")

    loader.made[0].pillarize = broken  # type: ignore[method-assign]
    assert fail(backend, 2) == ["no kernel"] * 2
    assert backend.state.name == ""
    loader.errors["gpu"] = ZeroDivisionError("a bug")
    clock.now += 1.0
    fail(backend, 1)
    assert wait_for(lambda: not is_loading(backend))
    with pytest.raises(ZeroDivisionError):
        frame(backend)


def hang(backend: RecoveringBackend, fake: FakeBackend) -> tuple[threading.Thread, threading.Event]:
    """Begins a frame that does not end before the event is set; its error is the thread's name."""
    is_in_work, gate = threading.Event(), threading.Event()

    def run(pillars: Any) -> Any:
        is_in_work.set()
        assert gate.wait(60.0)
        return "too late"

    def work() -> None:
        with pytest.raises(BackendError) as caught:
            frame(backend)
        threading.current_thread().name = str(caught.value)

    fake.run = run  # type: ignore[method-assign]
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert is_in_work.wait(60.0)
    return thread, gate


def test_a_backend_that_hangs_is_left_behind_and_loaded_again(loader: Loader, clock: Clock) -> None:
    backend = RecoveringBackend(loader, ["gpu"], 3, clock)
    thread, gate = hang(backend, loader.made[0])
    backend.leave_behind("no answer for 5 s")
    backend.leave_behind("said twice")
    assert backend.state.fault == "no backend runs: gpu failed: no answer for 5 s"
    assert not loader.made[0].is_closed  # somebody is in it
    clock.now += 1.0
    fail(backend, 1)
    assert wait_for(lambda: not is_loading(backend))
    assert frame(backend) == "gpu 1"

    gate.set()
    thread.join(60.0)
    assert thread.name == "gpu came back after it had been left behind"
    assert loader.made[0].is_closed
    assert frame(backend) == "gpu 1"
    assert backend.state.num_failures == 2


def test_the_fallback_answers_while_the_other_hangs(loader: Loader, clock: Clock) -> None:
    backend = RecoveringBackend(loader, ["gpu", "cpu"], 3, clock)
    thread, gate = hang(backend, loader.made[0])
    backend.leave_behind("no answer")
    assert frame(backend) == "cpu 1"
    assert backend.state.fault == "running on cpu: gpu failed: no answer"
    backend.close()
    assert loader.made[1].is_closed
    gate.set()
    thread.join(60.0)
    assert loader.made[0].is_closed


def test_between_frames_there_is_nothing_to_leave_behind(loader: Loader, clock: Clock) -> None:
    backend = RecoveringBackend(loader, ["gpu"], 3, clock)
    for error in (None, BackendError("once"), ZeroDivisionError("a bug")):
        loader.made[0].error = error
        with contextlib.suppress(BackendError, ZeroDivisionError):
            frame(backend)
        backend.leave_behind("nothing")
    loader.made[0].error = None
    assert frame(backend) == "gpu 0"


def test_what_cannot_be_loaded_at_the_start_is_an_error_and_leaves_nothing(
    loader: Loader, clock: Clock
) -> None:
    loader.errors["cpu"] = BackendError("cpu is not installed")
    with pytest.raises(BackendError, match="cpu is not installed"):
        RecoveringBackend(loader, ["gpu", "cpu"], 3, clock)
    assert loader.made[0].is_closed


def test_closing_frees_all_and_also_what_is_still_being_loaded(
    loader: Loader, clock: Clock
) -> None:
    backend = RecoveringBackend(loader, ["gpu", "cpu"], 1, clock)
    loader.made[0].error = BackendError("lost")
    fail(backend, 1)
    loader.gate.clear()
    clock.now += 1.0
    frame(backend)
    backend.close()
    assert not any(fake.name == "gpu" for fake in loader.made[2:])
    loader.gate.set()
    assert wait_for(lambda: len(loader.made) == 3 and loader.made[2].is_closed)
    assert len(loader.made) == 3
    assert all(fake.is_closed for fake in loader.made)


def test_what_auto_chose_is_what_is_loaded_again(clock: Clock) -> None:
    asked: list[str] = []

    def load(name: str) -> Any:
        asked.append(name)
        fake: Any = FakeBackend(name if name != "auto" else "cpu", len(asked) - 1)
        return Auto("cpu", fake, ("gpu (no device)",)) if name == "auto" else fake

    backend = RecoveringBackend(load, ["auto", "cpu"], 1, clock)
    assert backend.state.name == "cpu"
    assert "auto passed over gpu" in backend.description
    assert len(backend._slots) == 1  # no fallback to itself
    backend._slots[0].backend._backend.error = BackendError("lost")  # type: ignore[union-attr]
    fail(backend, 1)
    clock.now += 1.0
    fail(backend, 1)
    assert wait_for(lambda: not is_loading(backend))
    assert frame(backend) == "cpu 2"
    assert asked == ["auto", "cpu", "cpu"]


def test_a_backend_without_recovery_has_a_state_too() -> None:
    state = state_of(FakeBackend("cpu", 0))  # type: ignore[arg-type]
    assert (state.description, state.fault) == ("cpu number 0", "")
