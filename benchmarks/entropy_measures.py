# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Time of the entropy measures, and of the published one as a loop beside ours as a matrix product.

The maps have the shape of what the papers tap: the first block of PointPillars on KITTI, 4 maps of
64 channels and 248 × 216 cells, here filled with noise whose channels differ in strength. The
loop is the published computation as its papers and logs describe it: for every frame and every
channel, in Python, the distances to all channels over all pixels, sorted. Both run in turns in the
same process on the same thread; what is compared is the median of each.

    ./run python benchmarks/entropy_measures.py --json entropy_measures.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.research_measures import MEASURES
from eloss_perception.interrupts import check_interrupt, run_script
from eloss_perception.network.entropy_readout import renyi2_entropy

ENTROPY_MEASURES = {"renyi2": renyi2_entropy, **MEASURES}

CHANNELS, NUM_Y, NUM_X = 64, 248, 216


def loop_as_published(features: Tensor) -> Tensor:
    """One map's published measure, summed over the batch as published.

    Args:
        features: (B, C, H, W).

    Returns:
        Scalar H = log(1 + Σ over frames and channels of the K-th smallest distance).
    """
    total = features.new_zeros(())
    rank = features.shape[1] // 10
    for frame in features:
        samples = frame.flatten(1)  # (C, D): samples are channels, dimensions pixels
        for sample in samples:
            squared = (samples - sample).square().sum(dim=1)  # (C,)
            total = total + squared.clamp(min=1e-12).sqrt().sort().values[rank]
    return torch.log1p(total)


def summed_over_batch(features: Tensor, active: Tensor) -> Tensor:
    """The same number from our measure, which is per frame."""
    per_frame = ENTROPY_MEASURES["reference"](features, active)  # (B,)
    return torch.log1p(torch.expm1(per_frame).sum())


def milliseconds(call: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    """Measures, prints the tables and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--maps", type=int, default=4, help="tapped layers (default 4)")
    parser.add_argument("--frames", type=int, default=1, help="frames of a batch (default 1)")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default 1)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    shape = (arguments.frames, CHANNELS, NUM_Y, NUM_X)
    strength = torch.rand((1, CHANNELS, 1, 1), generator=generator)
    maps = [
        torch.randn(shape, generator=generator).relu() * strength for _ in range(arguments.maps)
    ]
    active = (torch.rand((arguments.frames, 1, NUM_Y, NUM_X), generator=generator) > 0.8).float()

    difference = max(
        abs(float(loop_as_published(m)) - float(summed_over_batch(m, active))) for m in maps
    )
    times: dict[str, list[float]] = {"loop as published": []}
    times |= {name: [] for name in ENTROPY_MEASURES}
    for _ in range(arguments.repeats):
        check_interrupt()
        # Map by map in turns, so that what else the machine does falls on all of them alike.
        for values in times.values():
            values.append(0.0)
        for m in maps:
            times["loop as published"][-1] += milliseconds(lambda: loop_as_published(m))
            for name, measure in ENTROPY_MEASURES.items():
                times[name][-1] += milliseconds(lambda: measure(m, active))
    median = {name: statistics.median(values) for name, values in times.items()}
    ratio = median["loop as published"] / median["reference"]

    print(
        f"{arguments.maps} maps of {CHANNELS} × {NUM_Y} × {NUM_X}, {arguments.frames} frame(s), "
        f"{arguments.threads} threads of {platform.processor() or platform.machine()}, torch "
        f"{torch.__version__}, load average {os.getloadavg()[0]:.1f}"
    )
    print(f"{'measure':20}{'median ms':>12}{'least ms':>12}")
    for name, value in median.items():
        print(f"{name:20}{value:12.2f}{min(times[name]):12.2f}")
    best = min(times["loop as published"]) / min(times["reference"])
    print(f"loop / reference: {ratio:.0f} × (least times: {best:.0f} ×)")
    print(f"largest difference of their values: {difference:.1e}")
    if arguments.json:
        figures = {
            "median_ms": {name: round(value, 3) for name, value in median.items()},
            "ratio": round(ratio, 1),
            "ratio_of_least": round(best, 1),
            "difference": difference,
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
