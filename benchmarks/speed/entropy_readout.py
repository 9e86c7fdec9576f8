# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the entropy readout costs inside the network: ONNX Runtime, one thread.

The shipped light network, and PointPillars with random weights. Each runs a simulated scan in turns
with the same graph without the operators that only its readings need; the share is the median of
the pairs' differences over the median without. CPU time is what is judged: on a machine that does
other things it is steadier than wall-clock time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from benchmarks.speed.rows import (
    Benchmark,
    BenchmarkSettings,
    Progress,
    Row,
    Value,
    milliseconds,
)
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import Pillars, pillarize
from eloss_perception.interrupts import check_interrupt
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import ONNX_NAME, YAML_NAME, default_bundle_path
from eloss_perception.simulation.drive import simulate_scan

if TYPE_CHECKING:
    import onnx

_BAR = 0.02
# A light frame takes a fifteenth of a full one's time.
_LIGHT_FRAMES = 4
# Where a session's memory happens to lie makes a percent of difference: so many are started.
_NUM_SESSIONS = 10


def measure(settings: BenchmarkSettings, progress: Progress) -> Row:
    """Times both networks."""
    progress("light network")
    light = light_readout(_LIGHT_FRAMES * settings.num_frames)
    progress("PointPillars")
    return readout_row({"light": light, "PointPillars": full_readout(settings.num_frames)})


def readout_row(figures: dict[str, dict[str, float]]) -> Row:
    """The row of the figures of both networks, see `time_readout`."""
    values, shares = [], {}
    for name, found in figures.items():
        # Of one thread: on a machine that does other things the steadier of the two.
        shares[name] = found["cpu_share"]
        values += [
            milliseconds(f"{name} without, CPU time", found["cpu_ms"]),
            milliseconds(f"{name} with, CPU time", found["cpu_with_readout_ms"]),
            Value(f"{name}, share of CPU time", round(100 * found["cpu_share"], 2), "%"),
            Value(f"{name}, share of wall time", round(100 * found["wall_share"], 2), "%"),
        ]
    return Row(
        measured=", ".join(f"{100 * share:.1f} % of {name}" for name, share in shares.items()),
        values=tuple(values),
        met=max(shares.values()) <= _BAR,
    )


def without_readings(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with zeros for its readings, and without what only these need."""
    import onnx

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


def time_readout(path: Path, grid: PillarGrid, pillars: Pillars, rounds: int) -> dict[str, float]:
    """Times of an exported network on one frame, without and with its readings."""
    import onnx

    model = onnx.load(str(path))
    settings = BackendSettings(num_threads=1)
    times: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.onnx"
        onnx.save(without_readings(model), str(bare))
        for _ in range(_NUM_SESSIONS):
            backends = [load_backend("onnxruntime_cpu", p, grid, settings) for p in (bare, path)]
            for i in range(-3, max(1, rounds // _NUM_SESSIONS)):  # the first ones warm up
                check_interrupt()
                for k in ((0, 1), (1, 0))[i % 2]:
                    time_taken = _wall_and_cpu_ms(lambda k=k: backends[k].run(pillars))  # type: ignore[misc]
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
    }


def light_readout(rounds: int) -> dict[str, float]:
    """Readout of the shipped bundle."""
    path = default_bundle_path()
    grid = PillarGrid(**yaml.safe_load((path / YAML_NAME).read_text())["grid"])
    pillars = pillarize(simulate_scan(3).points, grid)
    return time_readout(path / ONNX_NAME, grid, pillars, rounds)


def full_readout(rounds: int) -> dict[str, float]:
    """Readout of PointPillars as published, with random weights."""
    from eloss_perception.export.onnx import fold_batch_norm
    from eloss_perception.export.onnx_graph import write_onnx
    from eloss_perception.network.network import POINTPILLARS, PillarNetwork

    grid = PillarGrid((0.0, -39.68, -3.0, 69.12, 39.68, 1.0), (0.16, 0.16), 16000, 32)
    network = PillarNetwork(POINTPILLARS, grid.num_y, grid.num_x).eval()
    pillars = pillarize(simulate_scan(3).points, grid)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ONNX_NAME
        write_onnx(fold_batch_norm(network), pillars, path, half_weights=False)
        return time_readout(path, grid, pillars, rounds)


def _wall_and_cpu_ms(call: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and CPU time of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def medians(values: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Median wall-clock and CPU time."""
    walls, cpus = zip(*values, strict=True)
    return statistics.median(walls), statistics.median(cpus)


BENCHMARKS = {
    "entropy_readout": Benchmark(
        what="entropy readout on and off",
        against="the same network without taps",
        bar=f"<= {100 * _BAR:g} % of network time",
        measure=measure,
    )
}
