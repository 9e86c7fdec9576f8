# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What Entropy Loss costs a training step of the light network, and what each measure costs.

The steps are the trainer's (forward, losses, backward, clipping, AdamW) on simulated scans, with
Entropy Loss off and with each variant, in turns on the same batches. `ours` has terms in every
second step and takes two further backward passes every `measure_every` steps; such steps are timed
apart, and their mean over a run is a line of its own. CPU time of the process is given beside
wall-clock time: on a machine that does other things it is steadier.

The measures run on maps of the shape that the papers tap: the first block of PointPillars on KITTI,
4 maps of 64 channels and 248 x 216 cells, filled with noise whose channels differ in strength. The
published measure is timed twice: as a matrix product, and as the loop that its papers and logs
describe: for every frame and channel, in Python, the distances to all channels over all pixels.

What the readout costs an exported network: `eloss benchmark --only entropy_readout`.

    ./run python benchmarks/entropy_cost.py --threads 1 --json entropy_cost.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.research_measures import MEASURES
from eloss_perception.interrupts import check_interrupt, run_script
from eloss_perception.network.entropy_loss import EntropyLoss, EntropyLossConfig
from eloss_perception.network.entropy_readout import renyi2_entropy
from eloss_perception.network.network import PillarNetwork
from eloss_perception.training.data.loading import load_batches
from eloss_perception.training.data.samples import Batch
from eloss_perception.training.losses import detection_losses
from eloss_perception.training.settings import TrainingSettings

VARIANTS = ("off", "published", "ours")


def milliseconds(call: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and CPU time of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


class Step:
    """The trainer's step on one network, with any Entropy Loss."""

    def __init__(self, settings: TrainingSettings) -> None:
        grid = settings.grid.build(settings.training_half_width)
        network = PillarNetwork(settings.network, grid.num_y, grid.num_x)
        self.network = network.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate)
        self.settings = settings

    def __call__(self, batch: Batch, entropy_loss: EntropyLoss, step: int) -> None:
        """One update."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            class_logits, box_regression, taps = self.network.forward_taps(*batch[:3])
        terms = detection_losses(
            self.settings.network.head, class_logits.float(), box_regression.float(), batch.targets
        )
        task_loss = torch.stack(list(terms.values())).sum()
        entropy_terms = entropy_loss.terms(taps, step)
        backbone = self.network.stages.parameters()
        terms |= entropy_loss.balance(task_loss, entropy_terms, backbone, step)
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.optimizer.step()


def time_steps(settings: TrainingSettings, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Times of a step with each variant, and of a measuring step of `ours`."""
    batches = [group[0] for group in load_batches(settings)]
    step = Step(settings)
    config = EntropyLossConfig()
    losses = {
        name: EntropyLoss(
            config.model_copy(update={"variant": name}), step.network.layer_stages, 1000
        )
        for name in VARIANTS
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    times["ours, measuring"] = []
    for i in range(-1, rounds):  # one untimed round warms up
        check_interrupt()
        batch = batches[i % len(batches)]
        order = [*VARIANTS, "ours, measuring"]
        # Another one first in each round, so that none profits from its place.
        for name in order[i % 4 :] + order[: i % 4]:
            loss = losses[name.split(",")[0]]
            # A step that has terms, and measures the gradients only where that is timed.
            number = 0 if name == "ours, measuring" else config.every
            time_taken = milliseconds(lambda: step(batch, loss, number))
            if i >= 0:
                times[name].append(time_taken)
    return times


def medians(values: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Median wall-clock and CPU time."""
    walls, cpus = zip(*values, strict=True)
    return statistics.median(walls), statistics.median(cpus)


def training_table(arguments: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Wall-clock and CPU time of a training step with each variant."""
    settings = TrainingSettings(
        steps=arguments.batches, batch_size=arguments.batch_size, num_workers=0
    )
    steps = {name: medians(v) for name, v in time_steps(settings, arguments.rounds).items()}
    config = EntropyLossConfig()
    with_terms, measuring = 1 / config.every, 1 / config.measure_every
    off, usual, measured = steps["off"], steps["ours"], steps["ours, measuring"]
    mean = [
        (1 - with_terms) * a + (with_terms - measuring) * b + measuring * c
        for a, b, c in zip(off, usual, measured, strict=True)
    ]
    steps["ours, mean of a run"] = (mean[0], mean[1])
    steps["ours, with terms"] = steps.pop("ours")
    return steps


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


def measures_table(num_maps: int, repeats: int) -> dict[str, float]:
    """Median milliseconds of each measure, and how the published loop compares with `reference`."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, CHANNELS, NUM_Y, NUM_X)
    strength = torch.rand((1, CHANNELS, 1, 1), generator=generator)
    maps = [torch.randn(shape, generator=generator).relu() * strength for _ in range(num_maps)]
    active = (torch.rand((1, 1, NUM_Y, NUM_X), generator=generator) > 0.8).float()

    difference = max(
        abs(float(loop_as_published(m)) - float(summed_over_batch(m, active))) for m in maps
    )
    times: dict[str, list[float]] = {"loop as published": []}
    times |= {name: [] for name in ENTROPY_MEASURES}
    for _ in range(repeats):
        check_interrupt()
        # Map by map in turns, so that what else the machine does falls on all of them alike.
        for values in times.values():
            values.append(0.0)
        for m in maps:
            times["loop as published"][-1] += milliseconds(lambda: loop_as_published(m))[0]
            for name, measure in ENTROPY_MEASURES.items():
                times[name][-1] += milliseconds(lambda: measure(m, active))[0]
    median = {name: statistics.median(values) for name, values in times.items()}

    ratio = median["loop as published"] / median["reference"]
    return median | {"loop / reference": ratio, "largest difference": difference}


def main() -> None:
    """Measures, prints the tables and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30, help="timed steps (default 30)")
    parser.add_argument("--batches", type=int, default=4, help="different batches (default 4)")
    parser.add_argument("--batch-size", type=int, default=4, help="frames a batch (default 4)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default 2)")
    parser.add_argument("--maps", type=int, default=4, help="tapped layers (default 4)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of the measures (default 5)")
    parser.add_argument("--only", choices=("training", "measures"), help="one of the two")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(
        f"{arguments.threads} threads of {platform.processor() or platform.machine()}, torch "
        f"{torch.__version__}, load average {os.getloadavg()[0]:.1f}"
    )
    figures: dict[str, dict[str, float]] = {}
    if arguments.only != "measures":
        table = training_table(arguments)
        base = table["off"]
        title = f"training step, batch of {arguments.batch_size}"
        print(f"{title:28}{'wall ms':>10}{'ratio':>8}{'CPU ms':>10}{'ratio':>8}")
        for name, (wall, cpu) in table.items():
            print(f"{name:28}{wall:10.1f}{wall / base[0]:8.3f}{cpu:10.1f}{cpu / base[1]:8.3f}")
            figures[f"training step, {name}"] = {
                "wall_ms": round(wall, 2),
                "wall_ratio": round(wall / base[0], 4),
                "cpu_ms": round(cpu, 2),
                "cpu_ratio": round(cpu / base[1], 4),
            }
    if arguments.only != "training":
        figures["measures, ms"] = measures_table(arguments.maps, arguments.repeats)
        print(f"measure on {arguments.maps} maps of {CHANNELS} x {NUM_Y} x {NUM_X}, median ms")
        for name, value in figures["measures, ms"].items():
            print(f"{name:28}{value:10.3g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
