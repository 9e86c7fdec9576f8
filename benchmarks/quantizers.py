# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""int8 for CPUs by `eloss quantize`, by ONNX Runtime's quantiser and by NNCF: time, AP, drift.

All three quantise the convolutions of the same float32 bundle on the same simulated scans; the
entropy branch stays in float32, as it must, for 8-bit entropies mean nothing. Each is run with the
options that its documentation recommends for CPUs: unsigned activations and signed weights per
channel; NNCF with its fast bias correction (the accurate one fails on this graph). AP is Car's (the
mean of its four moderate figures) on every frame of a KITTI root; drift is that of the worst layer
reading, in spreads of the health reference, as `eloss quantize` limits it. Times are medians,
networks taking turns on each scan.

NNCF is no dependency of this package: `pip install nncf` into an environment of its own.

    ./run python benchmarks/quantizers.py --data KITTI_ROOT --json quantizers.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from eloss_perception.datasets.kitti.dataset import KittiDataset
from eloss_perception.detection.pillars import pillarize
from eloss_perception.evaluation import evaluate_detections, run_detector
from eloss_perception.export.quantization.acceptance import Measured, compare, network_on
from eloss_perception.export.quantization.writer import NetworkWriter, QuantizationSettings
from eloss_perception.interrupts import check_interrupt, run_script
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.simulation.drive import simulate_scan
from eloss_perception.training.validation import moderate_scores

QUANTIZED = ("Conv", "ConvTranspose")
RUNTIMES = ("onnxruntime_cpu", "openvino")
# Scenes that nothing else uses: for ranges, and for drift and times.
RANGE_SEED, SCAN_SEED = 795_000, 796_000

Inputs = list[dict[str, np.ndarray]]


def by_eloss(bundle: Bundle, scans: list[np.ndarray], inputs: Inputs, path: Path) -> None:
    """`eloss quantize` without a layer in floating point."""
    settings = QuantizationSettings(keep_float=())
    writer = NetworkWriter(bundle, scans, settings, 2, lambda activity, done, total: None)
    writer.write((), path)


def by_onnxruntime(bundle: Bundle, scans: list[np.ndarray], inputs: Inputs, path: Path) -> None:
    """ONNX Runtime's static quantisation."""

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._inputs = iter(inputs)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._inputs, None)

    quantize_static(
        bundle.onnx_path,
        path,
        Reader(),
        QuantFormat.QDQ,
        op_types_to_quantize=list(QUANTIZED),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def by_nncf(bundle: Bundle, scans: list[np.ndarray], inputs: Inputs, path: Path) -> None:
    """NNCF's post-training quantisation of the ONNX graph."""
    import nncf

    model = onnx.load(str(bundle.onnx_path))
    others = sorted({node.op_type for node in model.graph.node} - set(QUANTIZED))
    quantized = nncf.quantize(
        model,
        nncf.Dataset(inputs),
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(types=others, validate=False),
    )
    onnx.save(quantized, str(path))


QUANTIZERS: dict[str, Callable[[Bundle, list[np.ndarray], Inputs, Path], None]] = {
    "eloss": by_eloss,
    "onnxruntime": by_onnxruntime,
    "nncf": by_nncf,
}


def measured(bundle: Bundle, path: Path, data: Path, scans: list[np.ndarray]) -> Measured:
    """AP on all frames of a KITTI root and readings of clean scans, on ONNX Runtime."""
    detector = network_on(bundle, path, 2)
    frames: list[Any] = []
    for split in ("train", "val"):
        dataset = KittiDataset(data, split)
        frames += run_detector(detector, dataset, dataset.ids)[0]
    scores = moderate_scores(evaluate_detections(frames, bundle.class_names))
    readings = [detector.detect(points).readings for points in scans]
    return Measured(scores, np.array(readings), 0.0)


def times(bundle: Bundle, paths: dict[str, Path], scans: list[np.ndarray]) -> Iterator[tuple]:
    """Name, runtime and median milliseconds of each network."""
    settings = BackendSettings(num_threads=2)
    frames = [pillarize(points, bundle.grid) for points in scans]
    for runtime in RUNTIMES:
        backends = {n: load_backend(runtime, p, bundle.grid, settings) for n, p in paths.items()}
        taken: dict[str, list[float]] = {name: [] for name in backends}
        for pillars in frames:
            check_interrupt()
            for name, backend in backends.items():
                start = time.perf_counter()
                backend.run(pillars)
                taken[name].append((time.perf_counter() - start) * 1e3)
        for name, values in taken.items():
            yield name, runtime, statistics.median(values[3:])  # the first ones warm up


def main() -> None:
    """Quantises, measures, prints a row each and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="KITTI_ROOT")
    parser.add_argument("--bundle", type=Path, default=default_bundle_path(), metavar="DIR")
    parser.add_argument("--only", nargs="+", choices=QUANTIZERS, default=list(QUANTIZERS))
    parser.add_argument("--scans", type=int, default=64, help="to take ranges from")
    parser.add_argument("--frames", type=int, default=40, help="to measure drift and times on")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    scans = [simulate_scan(RANGE_SEED + i).points for i in range(arguments.scans)]
    clean = [simulate_scan(SCAN_SEED + i).points for i in range(arguments.frames)]
    inputs: Inputs = []
    for pillars in (pillarize(points, bundle.grid) for points in scans):
        cells = pillars.cell_to_pillar[None]
        inputs.append(
            {"points": pillars.points, "features": pillars.features, "cell_to_pillar": cells}
        )
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {"float32": bundle.onnx_path}
        for name in arguments.only:
            check_interrupt()
            paths[name] = Path(folder) / f"{name}.onnx"
            QUANTIZERS[name](bundle, scans, inputs, paths[name])
        before = measured(bundle, bundle.onnx_path, arguments.data, clean)
        for name, path in paths.items():
            after = measured(bundle, path, arguments.data, clean)
            found = compare(bundle, before, after)
            cars = [value for key, value in after.average_precision.items() if "Car" in key]
            rows[name] = {"car_ap": float(np.mean(cars)), "drift": found.largest_drift}
        for name, runtime, milliseconds in times(bundle, paths, clean):
            rows[name][f"{runtime}_ms"] = milliseconds
    for name, row in rows.items():
        print(f"{name:14}" + "".join(f"  {key} {value:.2f}" for key, value in row.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
