# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The research measures in float64: known answers, closed forms, the published code written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the research measures are in torch")

from measures_in_float64 import (
    choose_cells,
    coding_rate,
    knn_entropy,
    kozachenko_leonenko,
    reference_entropy,
)
from test_entropy import hadamard

from benchmarks.research_measures import (
    KNN_SAMPLES,
    cell_priority,
    digamma,
    fixed_projection,
    log_ball_volume,
)

SCALE_FREE = (coding_rate, knn_entropy)


@pytest.mark.parametrize("measure", SCALE_FREE)
def test_constant_features_have_entropy_zero(measure) -> None:
    assert measure(np.zeros((8, 50))) == 0.0
    # The mean of these is off by a rounding error, which is no variation.
    assert measure(np.full((8, 50), 3.7)) == 0.0


@pytest.mark.parametrize("measure", SCALE_FREE)
@given(scale=st.floats(1e-6, 1e12), seed=st.integers(0, 1000))
def test_scale_does_not_matter(measure, scale: float, seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(6, 40))
    assert measure(features * scale) == pytest.approx(measure(features), rel=1e-9)


# ------------------------------------------------------------------------------------- coding rate


def test_orthogonal_channels_of_equal_norm_need_the_full_rate() -> None:
    assert coding_rate(hadamard(16)[1:9] * 5.0) == pytest.approx(1.0, abs=1e-12)


def test_rate_of_rank_one() -> None:
    rng = np.random.default_rng(1)
    features = np.outer(rng.normal(size=8), rng.normal(size=50))
    assert coding_rate(features) == pytest.approx(math.log(1 + 8 / 0.5) / (8 * math.log(3)))


def test_rate_of_a_known_spectrum() -> None:
    """Eigenvalues (4, 1) / 5 of trace 1: log((1 + 2/ε² · 4/5)(1 + 2/ε² · 1/5)) over 2 log 3."""
    rows = hadamard(4)[1:3] * np.array([[2.0], [1.0]])
    expected = (math.log(1 + 4 * 0.8) + math.log(1 + 4 * 0.2)) / (2 * math.log(3))
    assert coding_rate(rows) == pytest.approx(expected)


# ----------------------------------------------------------------------- nearest-neighbour entropy


@pytest.mark.parametrize(("dimensions", "neighbor"), [(1, 3), (3, 4), (8, 5)])
def test_gaussian_entropy_is_found(dimensions: int, neighbor: int) -> None:
    rng = np.random.default_rng(2)
    # Strongly unequal variances would bias any nearest-neighbour estimate in many dimensions.
    rotation, _ = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))
    mixing = rotation * np.linspace(2.0, 3.0, dimensions)
    samples = rng.normal(size=(2000, dimensions)) @ mixing.T
    expected = 0.5 * dimensions * math.log(2 * math.pi * math.e) + np.linalg.slogdet(mixing)[1]
    assert kozachenko_leonenko(samples, neighbor) == pytest.approx(expected, abs=0.04 * dimensions)


def test_uniform_entropy_is_found() -> None:
    samples = np.random.default_rng(3).uniform(0.0, 5.0, size=(2000, 2))
    assert kozachenko_leonenko(samples) == pytest.approx(2 * math.log(5.0), abs=0.06)


def test_three_points_by_hand() -> None:
    """0, 1 and 3 on a line, k = 1: ψ(3) − ψ(1) = 3/2, c₁ = 2, nearest at 1, 1 and 2."""
    value = kozachenko_leonenko(np.array([[0.0], [1.0], [3.0]]), neighbor=1)
    assert value == pytest.approx(1.5 + math.log(2.0) + math.log(2.0) / 3)


def test_pieces_of_the_estimate() -> None:
    assert digamma(1) == pytest.approx(-0.5772156649)
    assert digamma(4) == pytest.approx(1 + 1 / 2 + 1 / 3 - 0.5772156649)
    assert log_ball_volume(2) == pytest.approx(math.log(math.pi))
    assert log_ball_volume(3) == pytest.approx(math.log(4 * math.pi / 3))


def test_a_white_gaussian_is_the_zero_and_structure_lies_below() -> None:
    rng = np.random.default_rng(4)
    white = rng.normal(size=(8, 2000))
    assert knn_entropy(white) == pytest.approx(0.0, abs=0.03)
    assert knn_entropy(white * np.array([[4.0], *[[0.2]] * 7])) < -0.5
    assert knn_entropy(np.outer(rng.normal(size=8), rng.normal(size=300))) < -2.0


def test_projection_is_orthonormal_and_fixed() -> None:
    projection = fixed_projection(64)
    assert projection.shape == (64, 8)
    np.testing.assert_allclose(projection.T @ projection, np.eye(8), atol=1e-12)
    # Another value here would make two builds' readings incomparable.
    np.testing.assert_allclose(np.abs(projection[:, 0]), 0.125, atol=1e-12)
    np.testing.assert_allclose(fixed_projection(5), np.eye(5))


def test_cells_are_chosen_among_the_active_ones_and_are_the_same_each_time() -> None:
    active = np.random.default_rng(5).random(3000) > 0.5
    cells = choose_cells(active)
    assert len(set(cells.tolist())) == KNN_SAMPLES and active[cells].all()
    np.testing.assert_array_equal(cells, choose_cells(active))
    # Evenly spread: a quarter of them in each quarter of the map.
    quarters = np.bincount(cells // 750, minlength=4)
    assert (np.abs(quarters - KNN_SAMPLES / 4) < 40).all()
    few = np.zeros(3000, bool)
    few[[7, 2999]] = True
    assert sorted(choose_cells(few)) == [7, 2999]
    assert len(np.unique(cell_priority(1000))) == 1000


def test_fewer_cells_than_neighbours_have_entropy_zero() -> None:
    features = np.random.default_rng(6).normal(size=(8, 4))
    assert knn_entropy(features) == 0.0


# --------------------------------------------------------------------------------- published code


def published_entropy(features: np.ndarray) -> float:
    """The formula of `reference_entropy` with nothing but loops."""
    channels, total = len(features), 0.0
    for i in range(channels):
        distances = []
        for j in range(channels):
            squared = sum(
                (float(a) - float(b)) ** 2 for a, b in zip(*features[[i, j]], strict=True)
            )
            distances.append(math.sqrt(max(squared, 1e-12)))
        total += sorted(distances)[channels // 10]
    return math.log(1.0 + total)


@pytest.mark.parametrize("channels", [5, 12, 34])
def test_reference_is_what_the_published_code_computes(channels: int) -> None:
    features = np.maximum(np.random.default_rng(7).normal(size=(channels, 20)), 0.0)
    features[3] = features[1]  # two equal channels, at the clamp's distance
    assert reference_entropy(features) == pytest.approx(published_entropy(features), rel=1e-9)


def test_reference_measures_the_scale() -> None:
    """Fault 1 of the published measure, kept on purpose: s times the features add log s."""
    features = np.random.default_rng(8).random((40, 500)) * 100.0
    change = reference_entropy(features * 10.0) - reference_entropy(features)
    assert change == pytest.approx(math.log(10.0), abs=1e-3)
