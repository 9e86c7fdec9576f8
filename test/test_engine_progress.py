# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How far along a build is."""

from __future__ import annotations

import logging

import pytest

from eloss_perception.runtime.engines.progress import LoggedProgress, PhaseTree


def test_shares_add_up_through_nested_phases() -> None:
    seen: list[tuple[str, float]] = []
    tree = PhaseTree(lambda phase, share: seen.append((phase, share)))
    tree.start("Building engine", None, 2)
    tree.start("Timing", "Building engine", 4)
    tree.step("Timing")
    tree.start("Measuring", "Timing", 2)
    tree.step("Measuring")
    tree.finish("Measuring")  # before it was through
    tree.step("Timing")
    tree.finish("Timing")
    tree.step("Building engine")
    tree.step("Building engine")
    tree.finish("Building engine")
    assert {phase for phase, _ in seen} == {"building engine"}
    shares = [share for _, share in seen]
    expected = [0.0, 0.0, 0.125, 0.125, 0.1875, 0.25, 0.5, 1.0, 1.0]
    assert shares == pytest.approx(expected)


def test_phases_that_make_no_sense_do_no_harm() -> None:
    seen: list[float] = []
    tree = PhaseTree(lambda phase, share: seen.append(share))
    tree.step("never started")
    tree.finish("never started")
    tree.start("child", "never started", 0)
    for _ in range(3):
        tree.step("child")
    tree.finish("child")
    tree.start("child", None, 2)  # a name may come again
    tree.step("child")
    assert all(0.0 <= share <= 1.0 for share in seen)


def test_a_log_gets_a_line_every_few_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = [0.0]
    progress = LoggedProgress(lambda: now[0])
    for step in range(120):  # 12 s
        now[0] = step / 10
        progress("building engine", step / 120)
    assert [record.message for record in caplog.records] == [
        "TensorRT engine: building engine, 41 %",
        "TensorRT engine: building engine, 83 %",
    ]
