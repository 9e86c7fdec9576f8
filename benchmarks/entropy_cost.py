# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What Entropy Loss costs a training step of the light network, and the readout an onboard network.

The steps are the trainer's (forward, losses, backward, clipping, AdamW) on simulated scans, with
Entropy Loss off and with each variant, in turns on the same batches. `ours` has terms in every
second step and takes two further backward passes every `measure_every` steps; such steps are timed
apart, and their mean over a run is a line of its own.

The readout is that of the exported networks in ONNX Runtime, as the node runs them: the shipped
light one, and PointPillars with random weights. Each runs a simulated scan in turns with the same
graph without the operators that only its readings need; the share is the median of the pairs'
differences over the median without.

CPU time of the process is given beside wall-clock time: on a machine that does other things it is
the steadier of the two. That of more than one thread is none where these share a core.

    ./run python benchmarks/entropy_cost.py --json entropy_cost.json
    ./run python benchmarks/entropy_cost.py --only readout --threads 1 --json readout_cost.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import torch
import yaml
from torch import nn

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import Pillars, pillarize
from eloss_perception.export.onnx import fold_batch_norm
from eloss_perception.export.onnx_graph import write_onnx
from eloss_perception.interrupts import check_interrupt, run_script
from eloss_perception.network.entropy_loss import EntropyLoss, EntropyLossConfig
from eloss_perception.network.network import POINTPILLARS, PillarNetwork
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import ONNX_NAME, YAML_NAME, default_bundle_path
from eloss_perception.simulation.drive import simulate_scan
from eloss_perception.training.data.loading import load_batches
from eloss_perception.training.data.samples import Batch
from eloss_perception.training.losses import detection_losses
from eloss_perception.training.settings import TrainingSettings

VARIANTS = ("off", "published", "ours")

# Where a session's memory happens to lie makes a percent of difference: so many are started.
NUM_SESSIONS = 10


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


def without_readings(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with zeros for its readings, and without what only these need."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    graph = bare.graph
    zeros = onnx.numpy_helper.from_array(np.zeros((1, 1), np.float32))
    readings = [output.name for output in graph.output if output.name.startswith("layer_")]
    nodes = [onnx.helper.make_node("Constant", [], [name], value=zeros) for name in readings]
    needed = {output.name for output in graph.output} - set(readings)
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
    constants = [constant for constant in graph.initializer if constant.name in needed]
    for field, kept in ((graph.node, nodes[::-1]), (graph.initializer, constants)):
        del field[:]
        field.extend(kept)
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    return bare


def time_readout(
    path: Path, grid: PillarGrid, pillars: Pillars, num_threads: int, rounds: int
) -> dict[str, float]:
    """Times of an exported network on one frame, without and with its readings."""
    model = onnx.load(str(path))
    settings = BackendSettings(num_threads=num_threads)
    times: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.onnx"
        onnx.save(without_readings(model), str(bare))
        for _ in range(NUM_SESSIONS):
            backends = [load_backend("onnxruntime_cpu", p, grid, settings) for p in (bare, path)]
            for i in range(-3, max(1, rounds // NUM_SESSIONS)):  # the first ones warm up
                check_interrupt()
                for k in ((0, 1), (1, 0))[i % 2]:
                    time_taken = milliseconds(lambda k=k: backends[k].run(pillars))  # type: ignore[misc]
                    if i >= 0:
                        times[k].append(time_taken)
    (wall, cpu), (wall_with, cpu_with) = medians(times[0]), medians(times[1])
    differences = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(*times, strict=True)]
    wall_more, cpu_more = medians(differences)
    return {
        **{"wall_ms": round(wall, 2), "wall_with_readout_ms": round(wall_with, 2)},
        **{"cpu_ms": round(cpu, 2), "cpu_with_readout_ms": round(cpu_with, 2)},
        **{"wall_share": round(wall_more / wall, 4), "cpu_share": round(cpu_more / cpu, 4)},
        "nodes_of_readout": len(model.graph.node) - len(without_readings(model).graph.node) + 2,
        "threads": num_threads,
    }


def light_readout(num_threads: int, rounds: int) -> dict[str, float]:
    """Readout of the shipped bundle."""
    path = default_bundle_path()
    grid = PillarGrid(**yaml.safe_load((path / YAML_NAME).read_text())["grid"])
    pillars = pillarize(simulate_scan(3).points, grid)
    return time_readout(path / ONNX_NAME, grid, pillars, num_threads, rounds)


def full_readout(num_threads: int, rounds: int) -> dict[str, float]:
    """Readout of PointPillars as published, with random weights."""
    grid = PillarGrid((0.0, -39.68, -3.0, 69.12, 39.68, 1.0), (0.16, 0.16), 16000, 32)
    network = PillarNetwork(POINTPILLARS, grid.num_y, grid.num_x).eval()
    pillars = pillarize(simulate_scan(3).points, grid)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ONNX_NAME
        write_onnx(fold_batch_norm(network), pillars, path, half_weights=False)
        return time_readout(path, grid, pillars, num_threads, rounds)


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


def main() -> None:
    """Measures, prints the tables and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30, help="timed steps (default 30)")
    parser.add_argument("--batches", type=int, default=4, help="different batches (default 4)")
    parser.add_argument("--batch-size", type=int, default=4, help="frames a batch (default 4)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default 2)")
    parser.add_argument("--frames", type=int, default=200, help="timed frames, light (default 200)")
    parser.add_argument("--full-frames", type=int, default=30, help="the same, full (default 30)")
    parser.add_argument("--only", choices=("training", "readout"), help="one of the two")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(
        f"{arguments.threads} threads of {platform.processor() or platform.machine()}, torch "
        f"{torch.__version__}, load average {os.getloadavg()[0]:.1f}"
    )
    figures: dict[str, dict[str, float]] = {}
    if arguments.only != "readout":
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
        print(
            f"{'network in ONNX Runtime':28}{'wall ms':>10}{'share':>8}{'CPU ms':>10}{'share':>8}"
        )
        for name, measure, rounds in (
            ("light", light_readout, arguments.frames),
            ("PointPillars", full_readout, arguments.full_frames),
        ):
            found = figures[f"readout, {name}"] = measure(arguments.threads, rounds)
            wall, cpu = found["wall_ms"], found["cpu_ms"]
            shares = f"{found['wall_share']:8.2%}{cpu:10.1f}{found['cpu_share']:8.2%}"
            print(f"{name:28}{wall:10.1f}{shares}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
