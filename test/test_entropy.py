# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy measure and profile statistics in float64: known answers and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eloss_perception.health.entropy import (
    GRID_STRIDE,
    LOG_RMS_FLOOR,
    NARROW_GRID_STRIDE,
    WHOLE_MAP_CELLS,
    eloss,
    entropy_changes,
    grid_stride,
    log_rms,
    renyi2_entropy,
)


def hadamard(size: int) -> np.ndarray:
    rows = np.array([[1.0]])
    while len(rows) < size:
        rows = np.block([[rows, rows], [rows, -rows]])
    return rows


def test_orthogonal_channels_of_equal_norm_have_entropy_one() -> None:
    rows = hadamard(16)[1:9]  # zero-mean, mutually orthogonal
    assert renyi2_entropy(rows) == pytest.approx(1.0, abs=1e-12)


def test_rank_one_features_have_entropy_zero() -> None:
    rng = np.random.default_rng(0)
    assert renyi2_entropy(np.outer(rng.normal(size=8), rng.normal(size=50))) == pytest.approx(0.0)


def test_two_directions_of_known_variance() -> None:
    """Spectrum (4, 1) / 5: H2 = -log(16/25 + 1/25) over log 2."""
    rows = hadamard(4)[1:3] * np.array([[2.0], [1.0]])
    assert renyi2_entropy(rows) == pytest.approx(-np.log(17 / 25) / np.log(2))


def test_log_rms_is_about_zero_and_has_a_floor() -> None:
    assert log_rms(np.array([[3.0, 4.0], [0.0, 0.0]])) == pytest.approx(math.log(2.5))
    assert log_rms(np.full((4, 9), -7.0)) == pytest.approx(math.log(7.0))
    for nothing in (np.zeros((4, 9)), np.zeros((4, 0))):
        assert log_rms(nothing) == pytest.approx(math.log(LOG_RMS_FLOOR))


def test_large_maps_are_measured_on_a_part_of_their_cells() -> None:
    assert grid_stride(16, WHOLE_MAP_CELLS // 16, 256) == 1
    # The light network's stages, on either range.
    assert [grid_stride(124, 108, 32), grid_stride(62, 54, 64), grid_stride(31, 27, 128)] == [
        *(NARROW_GRID_STRIDE, GRID_STRIDE, GRID_STRIDE)
    ]
    assert grid_stride(124, 216, 32) == NARROW_GRID_STRIDE


def test_constant_features_have_entropy_zero() -> None:
    assert renyi2_entropy(np.zeros((8, 50))) == 0.0
    # The mean of these is off by a rounding error, which is no variation.
    assert renyi2_entropy(np.full((8, 50), 3.7)) == 0.0


@given(scale=st.floats(1e-6, 1e12), seed=st.integers(0, 1000))
def test_scale_does_not_matter(scale: float, seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(6, 40))
    assert renyi2_entropy(features * scale) == pytest.approx(renyi2_entropy(features), rel=1e-9)


def test_changes_are_taken_inside_stages_only() -> None:
    entropy = np.array([0.9, 0.7, 0.6, 0.9, 0.8])
    stages = (0, 0, 0, 1, 1)
    np.testing.assert_allclose(entropy_changes(entropy, stages), [-0.2, -0.1, -0.1])
    assert eloss(entropy, stages) == pytest.approx(np.var([-0.2, -0.1, -0.1], ddof=1))
    assert eloss(entropy[:2], stages[:2]) == 0.0
