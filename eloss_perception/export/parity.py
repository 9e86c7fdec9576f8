# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Does the exported network say what the trained one says, and can it run in half precision?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.detection.decode import decode
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import Pillars
from eloss_perception.errors import BundleError
from eloss_perception.interrupts import check_interrupt
from eloss_perception.network.network import PillarNetwork, network_inputs
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.training.validation import TorchNetwork

# Largest differences between torch and the exported network.
_MAX_RELATIVE_DIFFERENCE = 1e-4
_MAX_READING_DIFFERENCE = 1e-3
_MAX_BOX_DIFFERENCE = 1e-2  # [m], [rad]

# Boxes are compared from this score on; a box this near to it may be missing on one side.
_SCORE_THRESHOLD = 0.1
_MAX_SCORE_DIFFERENCE = 1e-3

# Half precision ends at 65504; other scans may excite the network more than those tried.
_HALF_LIMIT = 65504.0 / 4.0


def check_parity(
    network: PillarNetwork, onnx_path: Path, scans: Sequence[Pillars], grid: PillarGrid
) -> None:
    """Compares torch and ONNX Runtime: raw maps, decoded boxes, readings.

    Raises:
        BundleError: If they differ, a value is not finite, or there is no point to compare on.
    """
    backend = load_backend("onnxruntime_cpu", onnx_path, grid, BackendSettings())
    thresholds = np.full(network.config.num_classes, _SCORE_THRESHOLD, np.float32)
    for pillars in with_points(scans):
        check_interrupt()
        expected = TorchNetwork(network, grid).run(pillars)
        actual = backend.run(pillars)
        for field in ("class_logits", "box_regression"):
            a, b = getattr(expected, field), getattr(actual, field)
            difference = float(np.abs(a - b).max() / max(1.0, float(np.abs(a).max())))
            if not difference <= _MAX_RELATIVE_DIFFERENCE:
                raise BundleError(f"torch and ONNX Runtime differ in {field} by {difference:.1e}")
        for field in ("layer_entropy", "layer_log_rms"):
            difference = float(np.abs(getattr(expected, field) - getattr(actual, field)).max())
            if not difference <= _MAX_READING_DIFFERENCE:
                raise BundleError(f"torch and ONNX Runtime differ in {field} by {difference:.1e}")
        found = [
            decode(
                o.class_logits, o.box_regression, network.config.head, grid, thresholds, 0.1, 200
            )
            for o in (expected, actual)
        ]
        if not (_contains(found[0], found[1]) and _contains(found[1], found[0])):
            raise BundleError("torch and ONNX Runtime decode to different boxes")


def with_points(scans: Sequence[Pillars]) -> list[Pillars]:
    """The scans that hold something to compare on.

    Raises:
        BundleError: If there is none.
    """
    filled = [pillars for pillars in scans if len(pillars.points)]
    if not filled:
        raise BundleError(
            "torch and ONNX Runtime cannot be compared: no scan has a point in the network's range"
        )
    return filled


def check_half_range(network: PillarNetwork, scans: Sequence[Pillars]) -> None:
    """Checks that the network could run in half precision, its entropy branch apart.

    What is looked at: every weight, and what every layer (encoder, backbone, necks, head) puts out
    on the given scans. The entropies are no layers; they are to stay in float32.

    Raises:
        BundleError: If a value is not finite or nears the end of half precision's range.
    """

    def check(name: str, value: Tensor) -> None:
        largest = float(value.abs().max())
        if not largest <= _HALF_LIMIT:
            raise BundleError(f"{name} reaches {largest:.3g}: out of half precision's safe range")

    for name, parameter in network.named_parameters():
        check(f"weight {name}", parameter.detach())

    def watch(name: str) -> object:
        return lambda module, inputs, output: check(f"the output of {name}", output)

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in network.named_modules()
        if not list(module.children()) and not isinstance(module, nn.Identity)
    ]
    try:
        for pillars in scans:
            with torch.inference_mode():
                network.forward_taps(*network_inputs(pillars))
    finally:
        for hook in hooks:
            hook.remove()


def _contains(boxes: Boxes3D, others: Boxes3D) -> bool:
    """Whether every one of ``others`` is among ``boxes``, those at the threshold apart."""
    for box, score, label in zip(others.boxes, others.scores, others.labels, strict=True):
        difference = np.abs(boxes.boxes[boxes.labels == label] - box)  # (N, 7)
        # A heading on the brink turns a box around; that logit was compared before.
        turn = difference[:, 6] % np.pi
        difference[:, 6] = np.minimum(turn, np.pi - turn)
        if score > _SCORE_THRESHOLD + _MAX_SCORE_DIFFERENCE and not (
            (difference < _MAX_BOX_DIFFERENCE).all(axis=1).any()
        ):
            return False
    return True
