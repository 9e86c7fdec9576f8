# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy measures in the network's graph: against the float64 reference, and what they promise."""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network needs torch")

import measures_in_float64  # noqa: E402

from benchmarks.research_measures import MEASURES as RESEARCH_MEASURES  # noqa: E402
from eloss_perception.errors import ConfigError  # noqa: E402
from eloss_perception.health import entropy as reference  # noqa: E402
from eloss_perception.network.entropy_loss import EntropyLoss, EntropyLossConfig  # noqa: E402
from eloss_perception.network.entropy_readout import (  # noqa: E402
    entropy_measure,
    read_layers,
    renyi2_entropy,
)

ENTROPY_MEASURES = {"renyi2": renyi2_entropy, **RESEARCH_MEASURES}
MEASURES = sorted(ENTROPY_MEASURES)
SCALE_FREE = [name for name in MEASURES if name != "reference"]


def masked_map(seed: int, batch: int = 2, channels: int = 24, size: int = 24) -> tuple:
    """Post-ReLU map with channels of unequal strength, and which cells are active."""
    generator = torch.Generator().manual_seed(seed)
    strength = torch.rand((1, channels, 1, 1), generator=generator) ** 2
    features = torch.randn((batch, channels, size, size), generator=generator).relu() * strength
    active = (torch.rand((batch, 1, size, size), generator=generator) > 0.4).float()
    return features, active


def in_numpy(name: str, features: torch.Tensor, active: torch.Tensor) -> float:
    """The float64 value for one frame, (C, H, W) and (H, W)."""
    stride = 1 if name == "reference" else reference.grid_stride(*active.shape, len(features))
    columns = features[:, ::stride, ::stride].double().flatten(1).numpy()
    kept = active[::stride, ::stride].flatten().numpy() > 0
    if name == "reference":
        return measures_in_float64.reference_entropy(columns)
    if name == "knn":
        chosen = np.searchsorted(np.flatnonzero(kept), measures_in_float64.choose_cells(kept))
        return measures_in_float64.knn_entropy(columns[:, kept], chosen)
    measure = {"renyi2": reference.renyi2_entropy, "coding_rate": measures_in_float64.coding_rate}[
        name
    ]
    return measure(columns[:, kept])


@pytest.mark.parametrize("channels", [8, 64, 256])
@pytest.mark.parametrize("name", MEASURES)
def test_torch_agrees_with_float64(name: str, channels: int) -> None:
    features, active = masked_map(1, channels=channels, size=40)
    for frame, value in enumerate(ENTROPY_MEASURES[name](features, active)):
        expected = in_numpy(name, features[frame], active[frame, 0])
        assert float(value) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("name", MEASURES)
def test_large_maps_are_measured_on_a_subgrid(name: str) -> None:
    features, active = masked_map(2, batch=1, channels=8, size=140)
    value = float(ENTROPY_MEASURES[name](features, active))
    assert value == pytest.approx(in_numpy(name, features[0], active[0, 0]), abs=2e-5)


def known_map(rows: np.ndarray) -> tuple:
    features = torch.from_numpy(rows).float()[None, :, None]  # (1, C, 1, M)
    return features, torch.ones((1, 1, 1, rows.shape[1]))


@pytest.mark.parametrize(
    ("name", "orthogonal"), [("renyi2", 1.0), ("coding_rate", 1.0), ("knn", None)]
)
@pytest.mark.parametrize("channels", [16, 256])
def test_known_answers(name: str, orthogonal: float | None, channels: int) -> None:
    q, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(500, channels + 1)) + 1e-9)
    q = q - q.mean(axis=0)
    q, _ = np.linalg.qr(q[:, :channels])  # zero mean, orthonormal
    rng = np.random.default_rng(4)
    rank_one = np.outer(rng.normal(size=channels), rng.normal(size=500))
    measure = ENTROPY_MEASURES[name]
    if orthogonal is not None:
        assert float(measure(*known_map(q.T * 7.0))) == pytest.approx(orthogonal, abs=1e-5)
    expected = {
        "renyi2": 0.0,
        "coding_rate": np.log1p(2 * channels) / (channels * np.log(3)),
        # Distances along one line, some below the floor: far below a Gaussian in 8 dimensions.
        "knn": measures_in_float64.knn_entropy(
            rank_one, measures_in_float64.choose_cells(np.ones(500, bool))
        ),
    }[name]
    assert float(measure(*known_map(rank_one))) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", MEASURES)
def test_each_frame_is_measured_by_itself(name: str) -> None:
    features, active = masked_map(5, batch=3)
    features[1] *= 1e3
    measure = ENTROPY_MEASURES[name]
    alone = torch.cat([measure(features[i : i + 1], active[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(measure(features, active), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1e4, 1e6])
@pytest.mark.parametrize("name", MEASURES)
def test_any_scale_is_measured_with_its_gradient(name: str, scale: float) -> None:
    features, active = masked_map(6)
    scaled = (features * scale).requires_grad_()
    value = ENTROPY_MEASURES[name](scaled, active)
    value.sum().backward()
    assert torch.isfinite(scaled.grad).all()
    if name in SCALE_FREE:
        torch.testing.assert_close(
            value, ENTROPY_MEASURES[name](features, active), atol=1e-4, rtol=0
        )
    else:
        expected = [in_numpy(name, features[i] * scale, active[i, 0]) for i in range(2)]
        np.testing.assert_allclose(value.detach().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("name", MEASURES)
def test_autocast_does_not_reach_the_measure(name: str) -> None:
    features, active = masked_map(7)
    with torch.autocast("cpu", torch.bfloat16):
        inside = ENTROPY_MEASURES[name](features, active)
        from_half = ENTROPY_MEASURES[name](features.bfloat16(), active)
    torch.testing.assert_close(inside, ENTROPY_MEASURES[name](features, active), atol=0, rtol=0)
    torch.testing.assert_close(
        from_half, ENTROPY_MEASURES[name](features.bfloat16().float(), active), atol=0, rtol=0
    )


@pytest.mark.parametrize("name", SCALE_FREE)
def test_nothing_active_gives_zero_and_no_gradient(name: str) -> None:
    features, active = masked_map(8)
    features.requires_grad_()
    entropy = ENTROPY_MEASURES[name](features, active * 0)
    entropy.sum().backward()
    assert (entropy == 0).all() and (features.grad == 0).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("name", SCALE_FREE)
def test_constant_features_give_zero(name: str, scale: float) -> None:
    """Also where the mean is off by a rounding error, which is no variation."""
    level = torch.linspace(0.1, 3.7, 24)[None, :, None, None] * scale
    _, active = masked_map(8)
    assert (ENTROPY_MEASURES[name](level.expand(2, -1, 24, 24), active) == 0).all()


@pytest.mark.parametrize("name", SCALE_FREE)
def test_inactive_cells_do_not_matter(name: str) -> None:
    features, active = masked_map(9)
    elsewhere = torch.where(active > 0, features, torch.full_like(features, 5.0))
    measure = ENTROPY_MEASURES[name]
    torch.testing.assert_close(measure(elsewhere, active), measure(features, active))


@pytest.mark.parametrize("name", MEASURES)
def test_all_zero_map_is_finite(name: str) -> None:
    features = torch.zeros((1, 24, 6, 6), requires_grad=True)
    value = ENTROPY_MEASURES[name](features, torch.ones((1, 1, 6, 6)))
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(features.grad).all()
    assert float(value.detach()) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("name", MEASURES)
def test_the_gradient_is_the_numerical_one(name: str) -> None:
    """Along a random direction, against central differences of the float64 reference."""
    features, active = masked_map(10, batch=1, channels=16, size=12)
    features = features + 0.1  # away from coinciding samples
    features.requires_grad_()
    ENTROPY_MEASURES[name](features, active).sum().backward()
    direction = torch.randn(features.shape, generator=torch.Generator().manual_seed(11))
    # Along the gradient as well as across it, so that the derivative is not a small difference.
    direction = direction + features.grad / features.grad.norm() * direction.norm()
    step = 1e-6
    values = [
        in_numpy(name, features.detach()[0].double() + sign * step * direction[0], active[0, 0])
        for sign in (1, -1)
    ]
    numerical = (values[0] - values[1]) / (2 * step)
    analytic = float((features.grad * direction).sum())
    assert analytic == pytest.approx(numerical, rel=2e-3)


# Operators of TensorRT 10.3's ONNX parser that the measures may use.
PORTABLE = {
    *("Abs", "Add", "And", "Cast", "Clip", "Div", "Expand", "Gather", "GatherElements", "Greater"),
    *("Log", "MatMul", "Max", "MaxPool", "Mul", "Neg", "Reciprocal", "ReduceL2", "ReduceMax"),
    *("ReduceSum", "Reshape", "Slice", "Sqrt", "Sub", "TopK", "Transpose", "Unsqueeze", "Where"),
}


@pytest.mark.parametrize("name", MEASURES)
def test_onnx_runtime_agrees(name: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    class Readout(torch.nn.Module):
        def forward(self, features: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
            return ENTROPY_MEASURES[name](features, active)

    inputs = masked_map(12, batch=1, channels=12, size=30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Readout().eval(), inputs, dynamo=True, opset_version=18, verbose=False
        )
    path = tmp_path / "measure.onnx"
    onnx.save(program.model_proto, path)
    assert {node.op_type for node in program.model_proto.graph.node} <= PORTABLE
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    features, active = inputs
    for scale in (1e-6, 1.0, 1e6):
        feed = dict(zip(names, (t.numpy() for t in (features * scale, active)), strict=False))
        actual = session.run(None, feed)[0]
        expected = ENTROPY_MEASURES[name](features * scale, active).numpy()
        np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_the_graph_reads_what_the_measures_say() -> None:
    """All layers at once, on a canvas's worth of sizes: subgrids of either step and whole maps."""
    stages, expected, scales = [], [], []
    for seed, (channels, size, num_layers) in enumerate([(16, 40, 3), (64, 30, 2), (96, 20, 1)]):
        maps = []
        for layer in range(num_layers):
            features, active = masked_map(10 * seed + layer, channels=channels, size=size)
            maps.append(features * 10.0**layer)
        stages.append((maps, active))
        for features in maps:
            stride = reference.grid_stride(size, size, channels)
            expected.append(
                [in_numpy("renyi2", features[i], active[i, 0]) for i in range(len(features))]
            )
            columns = features[:, :, ::stride, ::stride].double().flatten(2).numpy()
            kept = active[:, 0, ::stride, ::stride].flatten(1).numpy() > 0
            scales.append([reference.log_rms(c[:, k]) for c, k in zip(columns, kept, strict=True)])
    assert {reference.grid_stride(*maps[0].shape[2:], maps[0].shape[1]) for maps, _ in stages} == {
        *(1, reference.GRID_STRIDE, reference.NARROW_GRID_STRIDE)
    }
    entropy, scale = read_layers(stages)
    np.testing.assert_allclose(entropy.numpy(), np.transpose(expected), atol=2e-5)
    np.testing.assert_allclose(scale.numpy(), np.transpose(scales), atol=2e-5)
    other, same_scale = read_layers(stages, entropy_measure("coding_rate"))
    alone = ENTROPY_MEASURES["coding_rate"](stages[1][0][1], stages[1][1])
    torch.testing.assert_close(other[:, 4], alone)
    torch.testing.assert_close(same_scale, scale)


def log_rms(features: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
    return read_layers([([features], active)])[1]


def test_log_rms_of_known_maps() -> None:
    floor = math.log(reference.LOG_RMS_FLOOR)
    ones = torch.ones((1, 8, 6, 6))
    assert float(log_rms(3.0 * ones, ones[:, :1])) == pytest.approx(math.log(3.0), abs=1e-6)
    assert float(log_rms(3.0 * ones, 0.0 * ones[:, :1])) == pytest.approx(floor)
    assert float(log_rms(0.0 * ones, ones[:, :1])) == pytest.approx(floor)
    features, active = masked_map(13, batch=1)
    value = float(log_rms(features, active))
    assert float(log_rms(features * 1e3, active)) == pytest.approx(value + math.log(1e3), abs=1e-5)
    # What stands in inactive cells is not looked at.
    assert float(log_rms(features + 50.0 * (1.0 - active), active)) == pytest.approx(
        value, abs=1e-6
    )


@pytest.mark.parametrize("deviation", [1e-2, 1e-3])
def test_small_variation_about_a_large_mean_keeps_its_digits(deviation: float) -> None:
    features, active = masked_map(14, batch=1, channels=32, size=20)
    nearly_constant = 5.0 + deviation * features
    value = float(ENTROPY_MEASURES["renyi2"](nearly_constant, active))
    expected = in_numpy("renyi2", nearly_constant[0], active[0, 0])
    assert value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_is_found_by_its_name(name: str) -> None:
    assert entropy_measure(name) is ENTROPY_MEASURES[name]


def test_without_a_checkout_a_research_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "benchmarks.research_measures", None)
    with pytest.raises(ConfigError, match=r"'knn' is for research only.*source checkout"):
        EntropyLoss(EntropyLossConfig(measure="knn"), (0, 0, 0), 10)
    assert entropy_measure("renyi2") is renyi2_entropy
