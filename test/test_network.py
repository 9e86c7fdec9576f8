# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The network: its shapes with either head, its size, its taps, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

pytest.importorskip("torch", reason="the network needs torch")

import torch

from eloss_perception.detection.heads import KITTI_ANCHORS, AnchorHead, CenterHead
from eloss_perception.errors import ConfigError
from eloss_perception.export.onnx import fold_batch_norm, round_weights_to_half
from eloss_perception.network.network import (
    POINTPILLARS,
    NetworkConfig,
    NetworkOutput,
    PillarNetwork,
)

ANCHORS = AnchorHead(anchors=KITTI_ANCHORS)
SMALL: dict[str, Any] = {
    "encoder_channels": 8,
    "stage_channels": (8, 16),
    "stage_layers": (2, 3),
    "neck_channels": 8,
    "head_channels": 8,
}


def inputs(num_y: int, num_x: int, batch: int = 2, num_pillars: int = 40) -> tuple[Any, Any, Any]:
    """Pillars in random cells; every frame of the batch has some and empty cells besides."""
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(num_pillars, 6, 4, generator=generator)
    features = torch.randn(num_pillars, 6, generator=generator)
    cells = torch.full((batch, num_y * num_x), num_pillars)
    for frame, rows in enumerate(torch.arange(num_pillars).chunk(batch)):
        places = torch.randperm(num_y * num_x, generator=generator)[: len(rows)]
        cells[frame, places] = rows
    return points, features, cells


def trained_a_little(network: PillarNetwork) -> PillarNetwork:
    """Gives the batch norms statistics and factors of their own, some of these negative."""
    torch.manual_seed(5)
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            torch.nn.init.normal_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias)
    network.train()
    for _ in range(3):
        network(*inputs(network.num_y, network.num_x))
    return network.eval()


def test_pointpillars_has_the_published_size_and_taps() -> None:
    network = PillarNetwork(POINTPILLARS, 496, 432)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(4.83e6, rel=0.005)
    # Block 1 yields four maps, blocks 2 and 3 six each; each stage doubles the channels.
    assert network.layer_stages == (0,) * 4 + (1,) * 6 + (2,) * 6
    assert network.layer_names[:5] == (*(f"stage1.conv{i}" for i in range(1, 5)), "stage2.conv1")
    light = PillarNetwork(NetworkConfig(), 248, 216)
    assert sum(p.numel() for p in light.parameters()) == pytest.approx(0.84e6, rel=0.005)


@pytest.mark.parametrize(
    ("head", "class_channels", "box_channels"), [(CenterHead(), 3, 9), (ANCHORS, 6, 48)]
)
@pytest.mark.parametrize("mix", [True, False])
def test_either_head_runs_on_a_backbone(
    head: Any, class_channels: int, box_channels: int, mix: bool
) -> None:
    network = PillarNetwork(NetworkConfig(**SMALL, head=head, encoder_mix=mix), 16, 24)
    output = network(*inputs(16, 24))
    assert output.class_logits.shape == (2, class_channels, 8, 12)
    assert output.box_regression.shape == (2, box_channels, 8, 12)
    assert output.layer_entropy.shape == (2, 5)
    probability = output.class_logits.detach().sigmoid()
    assert float(probability.min()) > 0.001 and float(probability.max()) < 0.3


def test_taps_are_the_maps_after_the_relu_and_follow_the_configured_measure() -> None:
    config = NetworkConfig(**SMALL, entropy_measure="reference")
    network = PillarNetwork(config, 16, 24).eval()
    data = inputs(16, 24)
    _, _, taps = network.forward_taps(*data)
    assert [tuple(tap.bev.shape[1:]) for tap in taps] == [(8, 8, 12)] * 2 + [(16, 4, 6)] * 3
    assert all(float(tap.bev.detach().min()) == 0.0 for tap in taps)
    output = network(*data)
    entropy, scale = network.measure(taps)
    torch.testing.assert_close(output.layer_entropy, entropy)
    torch.testing.assert_close(output.layer_log_rms, scale)
    shipped = PillarNetwork(NetworkConfig(**SMALL), 16, 24)
    assert not torch.allclose(output.layer_entropy, shipped.measure(taps)[0])


def test_a_frame_is_read_alike_alone_and_in_a_batch() -> None:
    network = PillarNetwork(NetworkConfig(**SMALL, head=ANCHORS), 16, 24).eval()
    points, features, cells = inputs(16, 24)
    both = network(points, features, cells)
    alone = network(points, features, cells[1:])
    for name in NetworkOutput._fields:
        torch.testing.assert_close(
            getattr(both, name)[1:], getattr(alone, name), rtol=1e-5, atol=1e-6
        )


def test_weights_move_to_another_canvas() -> None:
    network = PillarNetwork(NetworkConfig(**SMALL), 16, 24).eval()
    wide = PillarNetwork(NetworkConfig(**SMALL), 16, 48).eval()
    wide.load_state_dict(network.state_dict())
    points, features, cells = inputs(16, 24)
    beside = torch.cat([cells.reshape(2, 16, 24), torch.full((2, 16, 24), len(points))], dim=2)
    narrow_maps = network(points, features, cells).class_logits
    wide_maps = wide(points, features, beside.reshape(2, -1)).class_logits
    # Equal but for the columns that see the seam through the padding.
    torch.testing.assert_close(wide_maps[..., :2], narrow_maps[..., :2])


@pytest.mark.parametrize("head", [CenterHead(), ANCHORS])
@torch.no_grad()
def test_folding_batch_norms_changes_nothing_but_rounding(head: Any) -> None:
    network = PillarNetwork(
        NetworkConfig(**SMALL, head=head, encoder_mix=isinstance(head, CenterHead)), 16, 24
    )
    network = trained_a_little(network)
    folded = fold_batch_norm(network)
    assert not any("BatchNorm" in type(module).__name__ for module in folded.modules())
    assert any("BatchNorm" in type(module).__name__ for module in network.modules())
    data = inputs(16, 24)
    for expected, actual in zip(network(*data), folded(*data), strict=True):
        torch.testing.assert_close(
            actual, expected, rtol=0, atol=1e-5 * max(1.0, float(expected.abs().max()))
        )
    round_weights_to_half(folded)
    for parameter in folded.parameters():
        assert parameter.dim() < 2 or torch.equal(parameter, parameter.half().float())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage_layers": (3, 4)}, "the same stages"),
        ({"stage_layers": (3, 4, 0)}, "at least one convolution"),
        ({"head": {"kind": "wheel"}}, "head"),
        ({"head": {"kind": "center", "stride": 4}}, "head.stride 4"),
        ({"head": {"kind": "anchors", "anchors": []}}, "anchors"),
        ({"head": ANCHORS, "num_classes": 2}, r"labels \[0, 1, 2\]; with 2 classes"),
        ({"head": {"kind": "anchors", "anchors": KITTI_ANCHORS[:4]}}, r"labels \[0, 1\]"),
        ({"entropy_measure": "shannon"}, "entropy_measure"),
    ],
)
def test_impossible_networks_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NetworkConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positive_iou": 0.4}, "above positive_iou"),
        ({"size": (1.0, 0.0, 1.0)}, "must be positive"),
    ],
)
def test_impossible_anchors_are_refused(changes: dict[str, Any], message: str) -> None:
    from eloss_perception.detection.heads import Anchor

    with pytest.raises(ValidationError, match=message):
        Anchor.model_validate(KITTI_ANCHORS[0].model_dump() | changes)


def test_a_canvas_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiples of 8"):
        PillarNetwork(NetworkConfig(), 248, 220)
