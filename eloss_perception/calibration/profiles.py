# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Profiles of known disturbances: what they do to a network's readings, and what they cost.

Simulated drives are corrupted in every way and read by the network; and clean drives are read by
copies of it whose backbone is damaged, as a broken memory, a bad engine or a careless quantisation
would damage it. Nothing that looks at scans can see that; entropies and scales of the layers can.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from eloss_perception.datasets.kitti.calibration import Calibration, camera_view_mask
from eloss_perception.datasets.kitti.convert import boxes_to_kitti
from eloss_perception.evaluation import EvaluationFrame, match_cars
from eloss_perception.evaluation.criteria import EVALUATION_SCORE
from eloss_perception.health.fit import ProfileReadings
from eloss_perception.health.reference import Condition
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import ONNX_NAME, Bundle
from eloss_perception.runtime.detector import Detections, DetectionThresholds, Detector
from eloss_perception.simulation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from eloss_perception.simulation.drive import DriveFrame, kitti_labels, simulate_drive

Points = npt.NDArray[np.float32]
Readings = npt.NDArray[np.float64]

# Streets that neither training nor export parity uses.
_DRIVE_SEED = 780_000
# Clean frames before the last one, which is corrupted.
NUM_BEFORE = 6
NETWORK_FAULT = "network_fault"
"""A cause behind the input: the network no longer computes what it was trained to."""

Weights = list[npt.NDArray[np.float32]]
Fault = Callable[[Weights], None]


def profile_conditions() -> list[Condition]:
    """Every corruption and severity that a single scan can show."""
    return [
        Condition(name, severity)
        for name, corruption in CORRUPTIONS.items()
        if not corruption.needs_previous
        for severity in (SEVERITIES if corruption.has_degree else SEVERITIES[-1:])
    ]


def num_profile_scans(num_layers: int, num_drives: int) -> int:
    """Scans that :func:`collect_profiles` reads."""
    num_conditions = len(profile_conditions()) + len(profile_faults(num_layers))
    return num_drives * (NUM_BEFORE + 1 + num_conditions)


def collect_profiles(
    bundle: Bundle,
    num_drives: int,
    backend: str = "onnxruntime_cpu",
    num_threads: int = 2,
    progress: Callable[[int], None] = lambda num_scans: None,
) -> ProfileReadings:
    """Reads the last frame of short simulated drives, clean, corrupted, and by damaged networks.

    Args:
        bundle: The network.
        num_drives: D drives, each down another street.
        backend: What runs the network.
        num_threads: Its CPU threads.
        progress: Called with the number of scans read so far, of :func:`num_profile_scans`.
    """
    reader = _Reader(bundle, backend, num_threads, progress)
    before: list[Readings] = []
    last_frames: list[DriveFrame] = []
    for index in range(num_drives):
        *history, last = simulate_drive(_DRIVE_SEED + index, NUM_BEFORE + 1)
        before.append(np.mean([reader.detect(f.scan.points).readings for f in history], axis=0))
        last_frames.append(last)
    clean, precision = reader.read(last_frames, _as_they_are)
    corrupted: dict[Condition, Readings] = {}
    ap_loss: dict[Condition, float] = {}

    def add(condition: Condition, readings: Readings, found: Readings) -> None:
        # A damaged network may answer NaN, which needs no profile.
        if np.isfinite(readings).all():
            corrupted[condition] = readings
            ap_loss[condition] = float(np.max(precision - found))

    for condition in profile_conditions():
        disturbed = partial(_corrupted, condition=condition)
        add(condition, *reader.read(last_frames, disturbed))
    with TemporaryDirectory() as folder:
        path = Path(folder) / ONNX_NAME
        for number, fault in enumerate(profile_faults(len(bundle.facts.layer_names)), 1):
            write_damaged(bundle.onnx_path, fault, path)
            reader.use(path)
            add(
                Condition(NETWORK_FAULT, number),
                *reader.read(last_frames, _as_they_are),
            )
    texts = {name: c.words for name, c in CORRUPTIONS.items() if c.words}
    return ProfileReadings(
        np.array(before),
        clean,
        corrupted,
        ap_loss,
        texts | {NETWORK_FAULT: "like a damaged network"},
        frozenset(name for name, c in CORRUPTIONS.items() if c.like_traffic),
    )


def _as_they_are(points: Points, index: int) -> Points:
    return points


def _corrupted(points: Points, index: int, condition: Condition) -> Points:
    return corrupt(points, condition.name, condition.severity, seed=index)


class _Reader:
    """A network that counts the scans it reads."""

    def __init__(
        self, bundle: Bundle, backend: str, num_threads: int, progress: Callable[[int], None]
    ) -> None:
        self._backend = backend
        self._settings = BackendSettings(num_threads=num_threads)
        # As AP is judged: with the weak boxes.
        thresholds = DetectionThresholds(score=EVALUATION_SCORE)
        self._detector = Detector(bundle, backend, self._settings, thresholds)
        self._progress = progress
        self._num_scans = 0

    def use(self, onnx_path: Path) -> None:
        """Goes on with another network of the same shape."""
        self._detector.backend = load_backend(
            self._backend, onnx_path, self._detector.grid, self._settings
        )

    def detect(self, points: Points) -> Detections:
        """Reads one scan."""
        detections = self._detector.detect(points)
        self._num_scans += 1
        self._progress(self._num_scans)
        return detections

    def read(
        self, frames: list[DriveFrame], disturbed: Callable[[Points, int], Points]
    ) -> tuple[Readings, Readings]:
        """Readings (D, R) of disturbed frames, and (2,) their AP, see :func:`_precision`."""
        calibration = Calibration.synthetic()
        rows, judged = [], []
        for index, frame in enumerate(frames):
            detections = self.detect(disturbed(frame.scan.points, index))
            rows.append(detections.readings)
            class_names = self._detector.class_names
            judged.append(_labelled(frame, detections, class_names, calibration))
        return np.array(rows), _precision(judged)


def _labelled(
    frame: DriveFrame,
    detections: Detections,
    class_names: tuple[str, ...],
    calibration: Calibration,
) -> EvaluationFrame:
    """A frame's labels and detections, as far as the simulated camera sees them."""
    boxes = detections.boxes
    seen = camera_view_mask(boxes.boxes, calibration)
    results = boxes_to_kitti(
        boxes.boxes[seen],
        [class_names[label] for label in boxes.labels[seen]],
        calibration,
        scores=boxes.scores[seen],
    )
    return EvaluationFrame(kitti_labels(frame.scan, calibration), results)


def _precision(frames: list[EvaluationFrame]) -> npt.NDArray[np.float64]:
    """(2,) AP R40 of cars in bird's-eye view and in space, in percent."""
    matched = match_cars(frames)
    return np.array([matched[metric].average_precision().ap_r40 for metric in ("bev", "3d")])


def dead_channels(layer: int, share: float, seed: int = 0) -> Fault:
    """A share of a layer's output channels answers nothing."""

    def damage(weights: Weights) -> None:
        num = len(weights[layer])
        dead = np.random.default_rng([seed, layer]).permutation(num)[: round(share * num)]
        weights[layer][dead] = 0.0

    return damage


def flipped_bit(layer: int) -> Fault:
    """One bit of one weight: of the exponent, of the weight of median size."""

    def damage(weights: Weights) -> None:
        flat = weights[layer].reshape(-1)
        index = int(np.argsort(np.abs(flat))[len(flat) // 2])
        flat.view(np.uint32)[index] ^= np.uint32(1 << 28)

    return damage


def few_bits(num_bits: int) -> Fault:
    """All weights are rounded to so many bits, with one scale for each layer."""

    def damage(weights: Weights) -> None:
        for values in weights:
            step = np.abs(values).max() / (2 ** (num_bits - 1) - 1)
            values[:] = np.round(values / step) * step

    return damage


def noisy_weights(share: float, seed: int = 0) -> Fault:
    """All weights are off by a share of their layer's spread."""

    def damage(weights: Weights) -> None:
        rng = np.random.default_rng(seed)
        for values in weights:
            noise = rng.standard_normal(values.shape).astype(np.float32)
            values += np.float32(share) * values.std() * noise

    return damage


def wrong_gain(layer: int, factor: float) -> Fault:
    """A layer's weights are scaled."""

    def damage(weights: Weights) -> None:
        weights[layer] *= np.float32(factor)

    return damage


def profile_faults(num_layers: int) -> list[Fault]:
    """The faults that a health reference knows: each layer damaged by itself, and all at once."""
    dead = [dead_channels(layer, s) for layer in range(num_layers) for s in (0.2, 0.5)]
    everywhere = [few_bits(bits) for bits in (6, 5, 4)]
    return dead + everywhere + [noisy_weights(share) for share in (0.15, 0.3, 0.5)]


def write_damaged(source: Path, fault: Fault, target: Path) -> None:
    """Writes a copy of a network with damaged backbone weights.

    Args:
        source: ``model.onnx`` of a bundle.
        fault: What is done to the weights of the 3 × 3 convolutions, in their order.
        target: File to write.
    """
    model = onnx.load(source)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    names = _backbone_weights(model)
    weights = [np.array(numpy_helper.to_array(tensors[name]), np.float32) for name in names]
    fault(weights)
    for name, values in zip(names, weights, strict=True):
        dtype = numpy_helper.to_array(tensors[name]).dtype
        tensors[name].CopyFrom(numpy_helper.from_array(values.astype(dtype), name))
    onnx.save(model, target)


def _backbone_weights(model: onnx.ModelProto) -> list[str]:
    """Names of the weights of the tapped convolutions.

    Half-precision weights are cast in the graph before their convolution reads them.
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    casts = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}
    sources = [
        casts.get(node.input[1], node.input[1])
        for node in model.graph.node
        if node.op_type == "Conv"
    ]
    return [name for name in sources if shapes.get(name, ())[2:] == (3, 3)]
