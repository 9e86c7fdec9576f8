# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Performance by what can be counted: arrays made, bytes moved, operators, messages.

Times differ from machine to machine and from minute to minute; these do not. A limit that fails
says that a frame does more than it did. If that is meant, the limit is raised in the same change,
and the message of the change says what the new copy, operator or message is for.

    python test/test_regression_counts.py    # writes the operators of the shipped bundles anew
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_allocations import ArrayAllocations
from cuda_on_cpu import needs_compiler

from benchmarks.speed.scans import PointArray, PointCloud, cloud_of
from eloss_perception.detection.decode import decode
from eloss_perception.detection.points import Sampler
from eloss_perception.detection.sensors import SENSORS, sensor_boxes
from eloss_perception.health.monitor import HealthMonitor
from eloss_perception.health.readings import make_readings
from eloss_perception.health.recent_frames import sector_fingerprints
from eloss_perception.ros.convert import points_from_msg
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import ONNX_NAME, Bundle
from eloss_perception.runtime.detector import Detector

MODELS = Path(__file__).resolve().parents[1] / "models"
OPERATORS = Path(__file__).with_name("onnx_operators.json")
LIGHT = MODELS / "pillars_light"
NUM_POINTS = 120_000

# Stage -> arrays of 64 KiB and more, and bytes of all arrays, that one frame of 120,000 points may
# make with numpy. A copy of the points would be 1.9 MB, one of the network's boxes 0.5 MB.
ARRAYS = {
    "message to points": (0, 100),  # a view of the message's bytes
    "points to pillars": (0, 20_000),  # into buffers
    "network": (0, 1_000),  # its outputs lie where the runtime puts them
    "outputs to boxes": (0, 60_000),  # what a few hundred candidates need
    "boxes in the sensor's frame": (0, 30_000),
    "readings": (0, 20_000),  # histograms of a sample of the points
    "health": (0, 20_000),
}

# Blocks of that size, and their bytes, of such a frame in the whole process: arrays that compiled
# code makes and what the network's runtime takes, too.
LARGE = 65_536
BLOCKS = (2, 500_000)


def street_scan(num_points: int, seed: int = 0) -> PointArray:
    """A full turn of 64 beams on flat ground with some height to it; the same everywhere."""
    rng = np.random.default_rng(seed)
    elevation = np.deg2rad(np.linspace(-24.0, -1.7, 64))[np.arange(num_points) % 64]
    distance = 1.73 / np.tan(-elevation)
    azimuth = rng.uniform(-np.pi, np.pi, num_points)
    height = rng.uniform(-1.8, -1.3, num_points)
    intensity = rng.uniform(0.0, 1.0, num_points)
    columns = [distance * np.cos(azimuth), distance * np.sin(azimuth), height, intensity]
    return np.column_stack(columns).astype(np.float32)


class Frame:
    """A frame of the shipped detector, step by step, with each step's arrays."""

    def __init__(self) -> None:
        bundle = Bundle.load(LIGHT)
        settings = BackendSettings(num_threads=1)
        self.detector = Detector(bundle, "onnxruntime_cpu", settings)
        self.monitor = HealthMonitor(bundle.require_health())
        self.sensor = SENSORS["kitti_hdl64"]
        self.sample = Sampler()
        self.arrays: dict[str, ArrayAllocations] = {}
        self.detector.warm_up()  # as the node does: buffers have the size of the largest frame

    def counted(self, stage: str, call: Callable[[], Any]) -> Any:
        with ArrayAllocations() as self.arrays[stage]:
            return call()

    def run(self, cloud: PointCloud) -> None:
        """The steps of the node, in its order."""
        detector, counted = self.detector, self.counted
        backend, head, grid = detector.backend, detector.head, detector.grid
        scan = counted("message to points", lambda: points_from_msg(cloud, self.sensor))
        pillars = counted("points to pillars", lambda: backend.pillarize(scan))
        outputs = counted("network", lambda: backend.run(pillars))
        maps = (outputs.class_logits, outputs.box_regression)
        scores = np.full(len(detector.class_names), 0.3, np.float32)
        boxes = counted("outputs to boxes", lambda: decode(*maps, head, grid, scores, 0.1, 200))
        counted("boxes in the sensor's frame", lambda: sensor_boxes(boxes, self.sensor))
        entropies = (outputs.layer_entropy, outputs.layer_log_rms)

        def read() -> tuple[Any, Any]:
            sample = self.sample(scan)
            readings = make_readings(*entropies, sample, pillars.counts)
            return readings, sector_fingerprints(sample)

        readings, fingerprints = counted("readings", read)
        counted("health", lambda: self.monitor.update(readings, fingerprints))


@pytest.fixture(scope="module")
def frame() -> Frame:
    made = Frame()
    for seed in range(2):  # what the first one makes once is not a frame's
        made.run(cloud_of(street_scan(NUM_POINTS, seed)))
    return made


def test_the_counter_counts() -> None:
    with ArrayAllocations() as counted:
        array = np.ones((5000, 4), np.float32)
        _ = (array + 1.0)[::2]  # a copy, gone at once, and a view
    assert counted.large() == [80_000, 80_000]
    with ArrayAllocations() as counted:
        pass
    _ = array.copy()
    assert counted.sizes == []


@pytest.mark.parametrize("stage", ARRAYS)
def test_no_more_arrays_a_frame(frame: Frame, stage: str) -> None:
    most, most_bytes = ARRAYS[stage]
    arrays = frame.arrays[stage]
    large, total = arrays.large(), sum(arrays.sizes)
    assert len(large) <= most, f"{stage}: arrays of {large} bytes, {most} large ones were allowed"
    assert total <= most_bytes, f"{stage}: {total} bytes in arrays, {most_bytes} were allowed"


def test_the_frame_that_is_counted_is_the_detectors(frame: Frame) -> None:
    """The steps above are those of `detect`, or what they count would say nothing."""
    points = street_scan(NUM_POINTS, 1)
    frame.detector.detect(points)  # its buffers grow to the largest scan seen
    with ArrayAllocations() as whole:
        frame.detector.detect(points)
    before_and_after = ("message to points", "boxes in the sensor's frame", "health")
    parts = [size for stage in ARRAYS if stage not in before_and_after
             for size in frame.arrays[stage].large()]  # fmt: skip
    assert Counter(whole.large()) == Counter(parts)


def test_more_points_make_no_more_arrays(frame: Frame) -> None:
    counts = []
    for num_points in (10_000, 500_000):
        points = street_scan(num_points, 3)
        frame.detector.detect(points)  # buffers grow to the largest scan seen
        with ArrayAllocations() as counted:
            frame.detector.detect(points)
        counts.append(len(counted.large()))
    assert counts[1] <= counts[0], f"{counts} large arrays for 10,000 and 500,000 points"


def large_blocks_of_a_frame() -> dict[str, int]:
    """Blocks of 64 KiB and more that a frame takes from the C library, and their bytes.

    To be called in a process with `count_malloc.c` loaded.
    """
    counter = ctypes.CDLL(None)
    counter.counted_blocks.restype = counter.counted_bytes.restype = ctypes.c_long
    counter.count_from.argtypes = [ctypes.c_size_t]
    frame, cloud = Frame(), cloud_of(street_scan(NUM_POINTS, 1))
    for _ in range(2):
        frame.run(cloud)
    counter.count_from(LARGE)
    frame.run(cloud)
    return {"blocks": counter.counted_blocks(), "bytes": counter.counted_bytes()}


@needs_compiler
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="takes the place of glibc's malloc")
def test_large_blocks_of_a_frame(tmp_path: Path) -> None:
    library = tmp_path / "count_malloc.so"
    source = Path(__file__).with_name("count_malloc.c")
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), "c++")
    command = [compiler, "-O1", "-shared", "-fPIC", "-fno-builtin", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    code = (
        "import json, test_regression_counts as counts\n"
        "print(json.dumps(counts.large_blocks_of_a_frame()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["blocks"] <= BLOCKS[0] and found["bytes"] <= BLOCKS[1], (
        f"a frame takes {found['blocks']} large blocks of {found['bytes']} bytes together,"
        f" {BLOCKS[0]} of {BLOCKS[1]} were allowed"
    )


# ------------------------------------------------------------------------------------- the graph


def operators_of(path: Path) -> dict[str, int]:
    """Operators of a network by kind."""
    onnx = pytest.importorskip("onnx", reason="reads the graph")
    graph = onnx.load(str(path), load_external_data=False).graph
    return dict(sorted(Counter(node.op_type for node in graph.node).items()))


def shipped_bundles() -> dict[str, Path]:
    return {path.parent.name: path for path in sorted(MODELS.glob(f"*/{ONNX_NAME}"))}


@pytest.mark.parametrize("name", shipped_bundles())
def test_operators_of_the_shipped_networks(name: str) -> None:
    known = json.loads(OPERATORS.read_text())
    how = f"if that is meant, run `python test/{Path(__file__).name}` and commit {OPERATORS.name}"
    assert name in known, f"the operators of {name} are not known: {how}"
    found = Counter(operators_of(shipped_bundles()[name]))
    more, fewer = found - Counter(known[name]), Counter(known[name]) - found
    assert not more and not fewer, f"{name}: more {dict(more)}, fewer {dict(fewer)}: {how}"


def test_no_bundle_in_the_table_is_gone() -> None:
    assert set(json.loads(OPERATORS.read_text())) == set(shipped_bundles())


# ------------------------------------------------------------------------------- the GPU's copies


@needs_compiler
def test_a_frame_on_the_gpu_moves_points_up_and_outputs_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import fake_cuda
    import fake_tensorrt

    cuda = fake_cuda.install(monkeypatch)
    fake_tensorrt.install(monkeypatch, cuda)
    bundle = Bundle.load(LIGHT)
    settings = BackendSettings(num_threads=1, engine_cache=tmp_path)
    detector = Detector(bundle, "tensorrt", settings)
    num_points = 20_000
    for seed in range(2):
        detector.detect(street_scan(num_points, seed))
    up, down, taken = cuda.num_bytes_up, cuda.num_bytes_down, cuda.num_allocations
    outputs = detector.backend.run(detector.backend.pillarize(street_scan(num_points, 2)))
    up, down = cuda.num_bytes_up - up, cuda.num_bytes_down - down
    num_bytes = sum(getattr(outputs, name).nbytes for name in outputs.__slots__)
    assert up <= 16 * num_points + 256, f"{up} bytes up: more than {num_points} points"
    assert down <= num_bytes + 256, f"{down} bytes down: more than outputs and counts"
    assert cuda.num_allocations == taken, "memory is taken at the start, never by a frame"


# ---------------------------------------------------------------------------------- the messages


# Topic -> bytes that a frame with one box may take where somebody listens to everything.
MESSAGE_BYTES = {
    "output/detections": 600,
    "output/entropy_health": 600,  # two layers, five checks and a sentence
    "output/markers": 1_500,
    "output/entropy_gauge": 10_000,
    "debug/processing_time": 80,
}


def test_messages_of_a_frame() -> None:
    pytest.importorskip("rclpy", reason="messages are ROS's")
    from cloud_factory import xyzi_cloud
    from node_harness import Harness, wait_for
    from rclpy.serialization import serialize_message

    num_frames = 3
    harness = Harness()
    try:
        harness.start()
        for number in range(1, num_frames + 1):
            harness.publish(xyzi_cloud(street_scan(2_000, number)), stamp_ns=number)
            for topic in MESSAGE_BYTES:
                assert wait_for(lambda: len(harness.received[topic]) >= number), topic  # noqa: B023
    finally:
        harness.close()
    for topic, most in MESSAGE_BYTES.items():
        num_messages = len(harness.received[topic])
        assert num_messages == num_frames, f"{topic}: {num_messages} messages of {num_frames} scans"
        num_bytes = max(len(serialize_message(message)) for message in harness.received[topic])
        assert num_bytes <= most, f"{topic}: {num_bytes} bytes, {most} were allowed"


if __name__ == "__main__":
    table = {name: operators_of(path) for name, path in shipped_bundles().items()}
    OPERATORS.write_text(json.dumps(table, indent=2) + "\n")
