# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a float32 bundle to a quantised one: written, compared, then stored or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eloss_perception.datasets.kitti.check import check_split, refuse_shared_frames, require_objects
from eloss_perception.datasets.kitti.dataset import KittiDataset, KittiFrames
from eloss_perception.errors import BundleError, DataError
from eloss_perception.export.quantization.acceptance import (
    Comparison,
    Measured,
    compare,
    judged_metrics,
    measure,
    move_to_quantized,
    network_on,
    refusal_of,
)
from eloss_perception.export.quantization.writer import (
    NetworkWriter,
    Points,
    Progress,
    QuantizationSettings,
)
from eloss_perception.files import new_folder
from eloss_perception.runtime.bundle import (
    FILE_NAMES,
    ONNX_NAME,
    Bundle,
    QuantizationFacts,
    sha256_of,
    write_facts,
    write_reference,
)
from eloss_perception.simulation.drive import simulate_scan
from eloss_perception.simulation.sensor_variants import sensor_variant
from eloss_perception.training.validation import SimulatedDataset

# Scenes that neither training nor calibration nor export parity uses.
_RANGE_SEED, _PAIR_SEED, _FRAME_SEED = 791_000, 792_000, 793


@dataclass(frozen=True)
class Quantized:
    """Result of a quantisation.

    Attributes:
        bundle: The new bundle.
        facts: What is stored in it.
        comparison: With the float network.
        before: The float network.
        after: The quantised one.
    """

    bundle: Bundle
    facts: QuantizationFacts
    comparison: Comparison
    before: Measured
    after: Measured


@dataclass(frozen=True)
class Data:
    """Scans and labelled frames of a KITTI root, or simulated ones where there is none."""

    root: Path | None = None
    split: str = "train"
    val_split: str = "val"

    def scans(self, number: int) -> tuple[list[Points], str]:
        """Clean scans to take ranges from, spread over the split, and their description."""
        if self.root is None:
            scans = [simulate_scan(_RANGE_SEED + i).points for i in range(number)]
            return scans, f"{number} simulated scans"
        dataset = KittiDataset(self.root, self.split)
        refuse_shared_frames(dataset, KittiDataset(self.root, self.val_split))
        check_split(dataset)
        number = min(number, len(dataset))
        chosen = np.linspace(0, len(dataset) - 1, number).round().astype(int)
        points = [dataset.points(dataset.ids[i]) for i in chosen]
        return points, f"{number} scans of {self.split} in KITTI's layout"

    def frames(self, number: int, class_names: Sequence[str]) -> tuple[KittiFrames, str]:
        """Labelled frames, and their description.

        Raises:
            DataError: If a file is bad, or no object is of a class by which accuracy is judged.
        """
        if self.root is None:
            return SimulatedDataset(number, _FRAME_SEED), f"{number} simulated frames"
        dataset = KittiDataset(self.root, self.val_split)
        classes = [name for name in class_names if name.lower() == "car"]
        where = f"{self.root}: split {self.val_split!r}"
        require_objects(check_split(dataset), classes or class_names, where)
        return dataset, f"{len(dataset)} frames of {self.val_split} in KITTI's layout"


def quantize_bundle(
    path: Path,
    out: Path,
    data: Data,
    settings: QuantizationSettings,
    num_threads: int = 2,
    progress: Progress = lambda activity, done, total: None,
) -> Quantized:
    """Writes the quantised counterpart of a float32 bundle.

    Args:
        path: The float32 bundle.
        out: Folder to write; must not exist.
        data: What ranges are taken from, and what accuracy is judged on.
        settings: Precision, target and limits.
        num_threads: CPU threads.
        progress: Called after every scan or layer.

    Raises:
        BundleError: If the bundle cannot be read, is quantised already, or the quantised network
            loses more than it may. Nothing is written then.
        ConfigError: If a pattern of layers matches none.
        DataError: If the data cannot be read, or ``out`` exists.
    """
    bundle = Bundle.load(path)
    if bundle.facts.quantization is not None:
        raise BundleError(f"{path} is quantised already; quantise the float32 bundle it came from")
    if out.exists():
        raise DataError(f"{out} exists; choose another --out or remove it")
    scans, calibration = data.scans(settings.num_scans)
    dataset, evaluation = data.frames(settings.num_frames, bundle.class_names)
    pairs = [*_clean_scans(settings.num_pairs), *(scans if data.root is not None else [])]
    total = len(dataset.ids) + len(pairs)

    def measured(onnx_path: Path, activity: str) -> Measured:
        detector = network_on(bundle, onnx_path, num_threads)
        return measure(detector, dataset, pairs, lambda done: progress(activity, done, total))

    before = measured(bundle.onnx_path, "scans, float32 network")
    judged_metrics(bundle, before)
    try:
        with new_folder(out) as folder:
            for name in FILE_NAMES:
                if name != ONNX_NAME and (path / name).is_file():
                    shutil.copyfile(path / name, folder / name)
            onnx_path = folder / ONNX_NAME
            writer = NetworkWriter(bundle, scans, settings, num_threads, progress)
            quantized = f"scans, {settings.precision} network"
            float_layers, after, comparison = _first_accepted(
                writer, onnx_path, before, lambda: measured(onnx_path, quantized)
            )
            facts = QuantizationFacts(
                precision=settings.precision,
                target=settings.target,
                source_sha256=bundle.facts.onnx_sha256,
                calibration=calibration,
                float_layers=float_layers,
                evaluation=evaluation,
                average_precision=comparison.average_precision,
                largest_drift=comparison.largest_drift,
                max_ap_drop=settings.max_ap_drop,
                max_drift=settings.max_drift,
            )
            _store(bundle, folder, facts, before, after, len(pairs))
    except OSError as error:
        raise DataError(f"cannot write {out}: {error}") from error
    return Quantized(Bundle.load(out), facts, comparison, before, after)


def _first_accepted(
    writer: NetworkWriter, onnx_path: Path, before: Measured, measured: Callable[[], Measured]
) -> tuple[tuple[str, ...], Measured, Comparison]:
    """Writes attempts until one is good enough; its float layers, figures and comparison.

    Raises:
        BundleError: If none is.
    """
    for keep_float in writer.attempts:
        float_layers = writer.write(keep_float, onnx_path)
        after = measured()
        comparison = compare(writer.bundle, before, after)
        refusal = refusal_of(comparison, writer.settings)
        if refusal is None:
            return float_layers, after, comparison
    raise BundleError(f"{writer.bundle.path}: {refusal}")


def _clean_scans(number: int) -> list[Points]:
    """Simulated scans, and the same places seen by other units of the sensor."""
    scans = [simulate_scan(_PAIR_SEED + index).points for index in range(number)]
    return [*scans, *(sensor_variant(points, seed) for seed, points in enumerate(scans))]


def _store(
    bundle: Bundle,
    folder: Path,
    facts: QuantizationFacts,
    before: Measured,
    after: Measured,
    num_pairs: int,
) -> None:
    """Writes facts and health reference beside the network."""
    written = bundle.facts.model_copy(
        update={
            "name": f"{bundle.facts.name}_{facts.precision}_{facts.target}",
            "onnx_sha256": sha256_of(folder / ONNX_NAME),
            "quantization": facts,
        }
    )
    write_facts(folder, written)
    if bundle.health is None or bundle.facts.health is None:
        return
    source = f"recalibrated for {facts.precision} by {num_pairs} scans read by both networks"
    reference = move_to_quantized(bundle.health, before.readings, after.readings, source)
    health = bundle.facts.health
    write_reference(folder, reference, health.false_alarms_per_hour, health.rate_hz)
