# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training data: where each millisecond of a sample goes, and how many a second arrive.

The stages of a sample are timed one after the other in this process, in processor time, which other
programs on the machine hardly change; then whole batches are drawn through the DataLoader with one
and two workers, by the clock, which they do. Scans are simulated on the fly or come from disk;
given a KITTI root, real scans come from its files and from the cache, as they are and with
ground-truth sampling and per-object noise.

    python benchmarks/data_loading.py --kitti KITTI_ROOT --json data_loading.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import CenterHead
from eloss_perception.detection.pillars import pillarize
from eloss_perception.interrupts import check_interrupt, run_script
from eloss_perception.training.data.frames import (
    FrameSource,
    KittiSplit,
    SimulatedFrames,
    StoredFrames,
)
from eloss_perception.training.data.object_database import ObjectDatabase, build_object_database
from eloss_perception.training.data.samples import (
    AugmentationConfig,
    TrainingSamples,
    augment,
    collate,
)
from eloss_perception.training.targets import make_targets

# The light network's grid as it is trained: a strip of 41 m in cells of 0.32 m.
GRID = PillarGrid((0.0, -20.48, -3.0, 69.12, 20.48, 1.0), (0.32, 0.32), 16000, 16)
NUM_CLASSES, BATCH_SIZE = 3, 4

# As KITTI is trained: no crop, the frames are the camera view already.
WHOLE = AugmentationConfig(camera_crop_probability=0.0)
PASTING = WHOLE.model_copy(
    update={
        "sampled_objects": (15, 15, 15),
        "object_rotation_deg": 9.0,
        "object_translation": (0.25, 0.25, 0.25),
    }
)


class Case(NamedTuple):
    """One way to get samples."""

    source: FrameSource
    augmentation: AugmentationConfig
    objects: ObjectDatabase | None = None
    reuse: int = 1


def make_cases(kitti: Path | None, num_scans: int, folder: Path) -> dict[str, Case]:
    """The cases, with everything that is kept on disk written."""
    simulated = SimulatedFrames(0)
    stored = StoredFrames(SimulatedFrames(0, num_scans=num_scans), folder)
    cases = {
        "simulated": Case(simulated, AugmentationConfig()),
        "simulated, each scan 3 times": Case(simulated, AugmentationConfig(), reuse=3),
        "simulated, from disk": Case(stored, AugmentationConfig()),
    }
    for index in range(num_scans):
        stored.frame(index)
    if kitti is not None:
        real = KittiSplit(kitti, "train")
        kept = StoredFrames(real, folder)
        cases["KITTI, from its files"] = Case(real, WHOLE)
        cases["KITTI, from disk"] = Case(kept, WHOLE)
        objects = build_object_database(kept, folder)
        cases["KITTI, objects pasted and moved"] = Case(kept, PASTING, objects)
    return cases


def time_stages(case: Case, num_samples: int) -> dict[str, float]:
    """Median processor milliseconds of every stage of a sample."""
    times: dict[str, list[float]] = {}

    def timed(stage: str, call: Callable[[], Any]) -> Any:
        start = time.thread_time()
        result = call()
        times.setdefault(stage, []).append((time.thread_time() - start) * 1e3)
        return result

    batch = []
    for index in range(-3, num_samples):  # three untimed samples compile and warm the caches
        check_interrupt()
        scan = timed("scan", lambda: case.source.frame(abs(index)))
        rng = np.random.default_rng([0, abs(index)])
        frame = timed("augment", lambda: augment(scan, case.augmentation, rng, case.objects))
        pillars = timed("pillars", lambda: pillarize(frame.points, GRID))
        head = CenterHead()
        targets = timed("targets", lambda: make_targets(frame, GRID, head, NUM_CLASSES))
        batch.append((pillars, targets))
        if len(batch) == BATCH_SIZE:
            timed("collate", lambda: collate(batch))
            batch = []
        if index < 0:
            times = {stage: [] for stage in times}
    stages = {stage: float(np.median(values)) for stage, values in times.items()}
    stages["scan"] /= case.reuse
    stages["collate"] /= BATCH_SIZE
    return {stage: round(value, 3) for stage, value in stages.items()}


def measure_throughput(case: Case, num_workers: int, num_samples: int) -> float:
    """Samples a second that the DataLoader hands over, its start left out."""
    block = BATCH_SIZE * num_workers  # small, so that a short run holds whole ones
    warm_up = 4 * block
    samples = TrainingSamples(
        case.source,
        GRID,
        NUM_CLASSES,
        CenterHead(),
        case.augmentation,
        reuse=case.reuse,
        seed=0,
        length=warm_up + num_samples + warm_up,
        objects=case.objects,
        block=block,
    )
    loader = DataLoader(
        samples,
        batch_size=BATCH_SIZE,
        num_workers=num_workers,
        collate_fn=collate,
        prefetch_factor=2,
    )
    start = 0.0
    for number, _ in enumerate(loader, start=1):
        check_interrupt()
        if number * BATCH_SIZE == warm_up:
            start = time.perf_counter()
        # Before the last batches, when workers run out of work and all that is left is waiting.
        if number * BATCH_SIZE == warm_up + num_samples:
            break
    return num_samples / (time.perf_counter() - start)


def main() -> None:
    """Measures, prints the tables and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kitti", type=Path, metavar="ROOT", help="a KITTI root with a train list")
    parser.add_argument("--scans", type=int, default=48, help="scans kept on disk (default 48)")
    parser.add_argument("--samples", type=int, default=96, help="samples a case (default 96)")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="default 1 2")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    num_samples = -(-arguments.samples // BATCH_SIZE) * BATCH_SIZE
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, case in make_cases(arguments.kitti, arguments.scans, Path(folder)).items():
            stages = time_stages(case, num_samples)
            result[name] = {"stages_ms": stages, "total_ms": round(sum(stages.values()), 3)} | {
                f"samples_per_s_{num_workers}_workers": round(
                    measure_throughput(case, num_workers, num_samples), 1
                )
                for num_workers in arguments.workers
            }
    stages = ("scan", "augment", "pillars", "targets", "collate")
    print(
        f"grid {GRID.num_y} x {GRID.num_x}, batches of {BATCH_SIZE}, {os.cpu_count()} cores of "
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.1f}"
    )
    rates = "".join(f"{f'{n} worker' + 's' * (n > 1):>11}" for n in arguments.workers)
    columns = "".join(f"{stage:>9}" for stage in (*stages, "sum"))
    print(f"{'ms of one core; samples/s':33}{columns}{rates}")
    for name, row in result.items():
        values = [*(row["stages_ms"][stage] for stage in stages), row["total_ms"]]
        rates = [row[f"samples_per_s_{n}_workers"] for n in arguments.workers]
        print(f"{name:33}" + "".join(f"{v:9.2f}" for v in values), end="")
        print("".join(f"{rate:11.0f}" for rate in rates))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
