# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy measures: known answers, and torch against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eloss_perception.core.entropy import eloss, entropy_changes, renyi2_entropy


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


def test_constant_features_have_entropy_zero() -> None:
    assert renyi2_entropy(np.full((8, 50), 3.7)) == 0.0


def test_two_directions_of_known_variance() -> None:
    """Spectrum (4, 1) / 5: H2 = -log(16/25 + 1/25) over log 2."""
    rows = hadamard(4)[1:3] * np.array([[2.0], [1.0]])
    assert renyi2_entropy(rows) == pytest.approx(-np.log(17 / 25) / np.log(2))


@given(st.floats(1e-6, 1e6), st.integers(0, 1000))
def test_scale_does_not_matter(scale: float, seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(6, 40))
    assert renyi2_entropy(features * scale) == pytest.approx(renyi2_entropy(features), rel=1e-9)


def test_changes_are_taken_inside_stages_only() -> None:
    entropy = np.array([0.9, 0.7, 0.6, 0.9, 0.8])
    stages = (0, 0, 0, 1, 1)
    np.testing.assert_allclose(entropy_changes(entropy, stages), [-0.2, -0.1, -0.1])
    assert eloss(entropy, stages) == pytest.approx(np.var([-0.2, -0.1, -0.1], ddof=1))
    assert eloss(entropy[:2], stages[:2]) == 0.0


torch = pytest.importorskip("torch", reason="the network needs torch")


def masked_map(seed: int, batch: int = 2) -> tuple:
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand((batch, 8, 10, 12), generator=generator)
    active = (torch.rand((batch, 1, 10, 12), generator=generator) > 0.4).float()
    return features, active


def test_torch_agrees_with_the_reference_on_active_cells() -> None:
    from eloss_perception.model.entropy import renyi2_entropy as torch_entropy

    features, active = masked_map(1)
    for frame, value in enumerate(torch_entropy(features, active)):
        cells = features[frame][:, active[frame, 0] > 0].numpy()
        assert float(value) == pytest.approx(renyi2_entropy(cells), abs=1e-5)


def test_each_frame_is_measured_by_itself() -> None:
    from eloss_perception.model.entropy import renyi2_entropy as torch_entropy

    features, active = masked_map(2, batch=3)
    together = torch_entropy(features, active)
    alone = torch.cat([torch_entropy(features[i : i + 1], active[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4, 1e12])
def test_torch_is_finite_and_free_of_scale(scale: float) -> None:
    from eloss_perception.model.entropy import renyi2_entropy as torch_entropy

    features, active = masked_map(3)
    torch.testing.assert_close(
        torch_entropy(features * scale, active), torch_entropy(features, active), atol=1e-4, rtol=0
    )


def test_nothing_active_gives_zero_and_no_gradient() -> None:
    from eloss_perception.model.entropy import renyi2_entropy as torch_entropy

    features, active = masked_map(4)
    features.requires_grad_()
    entropy = torch_entropy(features, active * 0)
    entropy.sum().backward()
    assert (entropy == 0).all() and (features.grad == 0).all()


def test_the_gradient_is_the_numerical_one() -> None:
    from eloss_perception.model.entropy import renyi2_entropy as torch_entropy

    features, active = masked_map(5, batch=1)
    features.requires_grad_()
    torch_entropy(features, active).sum().backward()
    step, index = 1e-2, (0, 3, 4, 5)
    active[index[0], 0, index[2], index[3]] = 1
    features.grad = None
    torch_entropy(features, active).sum().backward()
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            moved = features.clone()
            moved[index] += sign * step
            values.append(renyi2_entropy(moved[0][:, active[0, 0] > 0].double().numpy()))
    numerical = (values[0] - values[1]) / (2 * step)
    assert float(features.grad[index]) == pytest.approx(numerical, rel=2e-2, abs=1e-6)


def test_entropy_loss_rewards_steady_falls_and_punishes_rises() -> None:
    from eloss_perception.model.entropy import entropy_loss

    stages = (0, 0, 0, 0, 1, 1, 1)
    steady = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.9, 0.7, 0.5]])
    steadiness, direction = entropy_loss(steady, stages)
    assert float(steadiness) == pytest.approx(0.0, abs=1e-12) and float(direction) == 0.0
    jumpy = torch.tensor([[0.9, 0.85, 0.65, 0.6, 0.9, 0.7, 0.5]])
    assert float(entropy_loss(jumpy, stages)[0]) > 1e-3
    rising = torch.tensor([[0.6, 0.7, 0.8, 0.9, 0.5, 0.7, 0.9]])
    steadiness, direction = entropy_loss(rising, stages)
    # A uniform drift, to which the published variance is blind.
    assert float(steadiness) == pytest.approx(0.0, abs=1e-12)
    assert float(direction) == pytest.approx((0.1 + 0.2) / 2)
