# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What Entropy Loss costs a training step of the light network, and its readout a forward pass.

The steps are the trainer's (forward, losses, backward, clipping, AdamW) on simulated scans, with
Entropy Loss off and with each variant, in turns on the same batches. `ours` has terms in every
second step and takes two further backward passes every `measure_every` steps; such steps are timed
apart, and their mean over a run is a line of its own. The forward pass is that of one frame on the
whole grid, with and without the entropy readout.

CPU time of the process is given beside wall-clock time: on a machine that does other things it is
the steadier of the two.

    ./run python benchmarks/entropy_cost.py --json entropy_cost.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn

from eloss_perception.model.entropy_loss import EntropyLoss, EntropyLossConfig
from eloss_perception.model.network import PillarNetwork, measure_taps
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


def time_forward(settings: TrainingSettings, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Times of a forward pass of one frame on the whole grid."""
    whole = settings.model_copy(update={"training_half_width": None, "batch_size": 1})
    batch = next(load_batches(whole))[0]
    grid = whole.grid.build()
    network = PillarNetwork(whole.network, grid.num_y, grid.num_x).eval()
    network = network.to(memory_format=torch.channels_last)
    times: dict[str, list[tuple[float, float]]] = {"without readout": [], "with readout": []}
    with torch.inference_mode():
        for i in range(-1, rounds):
            without = milliseconds(lambda: network.forward_taps(*batch[:3]))
            taps = network.forward_taps(*batch[:3])[2]
            readout = milliseconds(lambda: measure_taps(taps, whole.network.entropy_measure))
            if i >= 0:
                times["without readout"].append(without)
                # The same pass and its readout: two passes would differ by more than a readout.
                times["with readout"].append((without[0] + readout[0], without[1] + readout[1]))
    return times


def medians(values: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Median wall-clock and CPU time."""
    walls, cpus = zip(*values, strict=True)
    return statistics.median(walls), statistics.median(cpus)


def main() -> None:
    """Measures, prints the tables and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30, help="timed rounds (default 30)")
    parser.add_argument("--batches", type=int, default=4, help="different batches (default 4)")
    parser.add_argument("--batch-size", type=int, default=4, help="frames a batch (default 4)")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads (default 2)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    settings = TrainingSettings(
        steps=arguments.batches, batch_size=arguments.batch_size, num_workers=0
    )
    steps = {name: medians(v) for name, v in time_steps(settings, arguments.rounds).items()}
    config = EntropyLossConfig()
    with_terms, measuring = 1 / config.every, 1 / config.measure_every
    steps["ours, mean of a run"] = tuple(
        (1 - with_terms) * off + (with_terms - measuring) * usual + measuring * measured
        for off, usual, measured in zip(
            steps["off"], steps["ours"], steps["ours, measuring"], strict=True
        )
    )
    steps["ours, with terms"] = steps.pop("ours")
    forward = {name: medians(v) for name, v in time_forward(settings, arguments.rounds).items()}

    print(
        f"batch of {arguments.batch_size}, {arguments.threads} threads of "
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, load average "
        f"{os.getloadavg()[0]:.1f}"
    )
    figures: dict[str, dict[str, float]] = {}
    for title, table in (("training step", steps), ("forward pass", forward)):
        base = next(iter(table.values()))
        print(f"{title:28}{'wall ms':>10}{'ratio':>8}{'CPU ms':>10}{'ratio':>8}")
        for name, (wall, cpu) in table.items():
            print(f"{name:28}{wall:10.1f}{wall / base[0]:8.3f}{cpu:10.1f}{cpu / base[1]:8.3f}")
            figures[f"{title}, {name}"] = {
                "wall_ms": round(wall, 2),
                "wall_ratio": round(wall / base[0], 4),
                "cpu_ms": round(cpu, 2),
                "cpu_ratio": round(cpu / base[1], 4),
            }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
