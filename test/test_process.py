# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detector's process: it ends at once and quietly on a signal, and says why it cannot start."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

pytest.importorskip("rclpy")

import rclpy
from cloud_factory import random_points, xyzi_cloud
from node_harness import cloud_msg
from processes import HANG_S, wait_until_heeded
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import PointCloud2

from eloss_perception.msg import EntropyHealth
from eloss_perception.ros.process import BUG, HANGS

tiny_bundle = pytest.importorskip("tiny_bundle", reason="needs onnx")

COMMAND = [sys.executable, "-m", "eloss_perception.ros.process"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")  # type: ignore[no-any-return]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


# Stands in for a detector: what it does is the first argument.
STAND_IN = """
import sys, time
what = sys.argv.pop(1)
sys.path.insert(0, "test")
from fake_detector import FakeDetector
import ctypes
import eloss_perception.ros.node as node
from eloss_perception.ros import process

def hang():
    mutex, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    for _ in range(2):  # locked twice: native code that never returns
        libc.pthread_mutex_lock(mutex)

class StandIn(FakeDetector):
    def detect(self, points):
        print("AT WORK", flush=True)
        if what == "bug":
            raise ZeroDivisionError("a bug")
        hang()

def make(settings):
    print("LOADING", flush=True)
    if what == "loading":
        hang()
    return StandIn()

node.DetectorNode.__init__.__kwdefaults__["detector_factory"] = make
process.main()
"""


def start_stand_in(what: str, *parameters: str) -> subprocess.Popen[str]:
    options = [option for parameter in parameters for option in ("-p", parameter)]
    return subprocess.Popen(
        [sys.executable, "-u", "-c", STAND_IN, what, "--ros-args", *options],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def limited(process: subprocess.Popen[str]) -> Iterator[IO[str]]:
    """Its output, to be read within `HANG_S`: what hangs is killed, and the test fails."""
    assert process.stdout is not None
    timer = threading.Timer(HANG_S, process.kill)
    timer.start()
    try:
        yield process.stdout
    finally:
        timer.cancel()


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    said = []
    with limited(process) as output:
        for line in output:
            said.append(line)
            if text in line:
                return
    raise AssertionError("".join(said))


def end(process: subprocess.Popen[str]) -> str:
    """Waits for its end; returns what it said since the last line that was waited for."""
    # Not `communicate`, which would know nothing of the lines that are read but not taken yet.
    with limited(process) as output:
        said = output.read()
        process.wait()
    return said


@pytest.fixture
def publisher() -> Iterator[Any]:
    """Sends scans as long as it is there."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("driver", context=context)
    scans = node.create_publisher(PointCloud2, "/detector_node/input/pointcloud", 10)
    msg, is_over = cloud_msg(xyzi_cloud(random_points(50))), threading.Event()

    def publish() -> None:
        while not is_over.wait(0.05):
            scans.publish(msg)

    thread = threading.Thread(target=publish)
    thread.start()
    yield node
    is_over.set()
    thread.join()
    node.destroy_node()
    context.try_shutdown()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["imports", "loading", "work"])
def test_a_signal_ends_it(bundle: Path, number: signal.Signals, moment: str) -> None:
    process = start("--ros-args", "-p", f"bundle:={bundle}")
    wait_until_heeded(process, number)
    if moment == "work":
        wait_for_line(process, "tiny on ONNX Runtime")
    elif moment == "loading":
        time.sleep(0.7)
    process.send_signal(number)
    output = end(process)
    assert process.returncode == 0, output
    assert "Traceback" not in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_until_the_end_are_one(bundle: Path, number: signal.Signals) -> None:
    process = start("--ros-args", "-p", f"bundle:={bundle}")
    wait_for_line(process, "tiny on ONNX Runtime")
    deadline = time.monotonic() + HANG_S
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(number)
        time.sleep(0.005)
    output = end(process)
    assert process.returncode == 0, output


def test_signals_faster_than_a_handler_in_python_nest_and_lock_nothing() -> None:
    code = (
        "import signal, threading\n"
        "from eloss_perception.ros.process import StopRequest\n"
        "stop = StopRequest()\n"
        "with stop.printing, stop._failed._cond:  # whatever the main thread holds at that moment\n"
        "    for _ in range(10_000):\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "stop.wait()\n"
        "stop.fail(ZeroDivisionError('while it is closed'))\n"
        "print(stop.exit_code)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "0\n", "")


def test_a_signal_ends_it_while_a_network_loads_for_ever() -> None:
    process = start_stand_in("loading")
    wait_for_line(process, "LOADING")
    process.send_signal(signal.SIGTERM)
    output = end(process)
    assert process.returncode == 0, output


def test_a_signal_ends_it_while_the_backend_hangs(publisher: Any) -> None:
    process = start_stand_in("hang", "hang_timeout:=0.5")
    wait_for_line(process, "the backend hangs, no answer for")
    process.send_signal(signal.SIGTERM)
    output = end(process)
    assert process.returncode == 0, output


def test_a_backend_that_does_not_come_back_ends_it_with_75(publisher: Any) -> None:
    process = start_stand_in("hang", "hang_timeout:=0.5", "hang_exit_timeout:=1.0")
    output = end(process)
    assert process.returncode == HANGS == 75, output
    assert "\ndetector_node: no scan was answered for" in output
    assert "Traceback" not in output


def test_a_bug_ends_it_with_70_and_a_signal_does_not_hide_it(publisher: Any) -> None:
    process = start_stand_in("bug")
    wait_for_line(process, "AT WORK")
    deadline = time.monotonic() + HANG_S
    wait_for_line(process, "Traceback")
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    output = end(process)
    assert process.returncode == BUG == 70, output
    assert "ZeroDivisionError: a bug" in output


@pytest.mark.parametrize("is_simulated", [True, False])
def test_a_clock_before_1970_leaves_it_alive(publisher: Any, is_simulated: bool) -> None:
    process = start_stand_in("hang", f"use_sim_time:={is_simulated}")
    wait_for_line(process, "no network")
    executor = rclpy.executors.SingleThreadedExecutor(context=publisher.context)
    executor.add_node(publisher)
    if not is_simulated:
        client = publisher.create_client(SetParameters, "/detector_node/set_parameters")
        assert client.wait_for_service(HANG_S)
        parameter = Parameter("use_sim_time", value=True).to_parameter_msg()
        future = client.call_async(SetParameters.Request(parameters=[parameter]))
        executor.spin_until_future_complete(future, HANG_S)
        assert future.done()
    clock = publisher.create_publisher(Clock, "/clock", 10)
    deadline = time.monotonic() + HANG_S
    while not clock.get_subscription_count():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for sec in (100, -1, 2**31 - 1, -(2**31), 50):
        msg = Clock()
        msg.clock.sec, msg.clock.nanosec = sec, 2**32 - 1
        clock.publish(msg)
        time.sleep(0.1)
    wait_for_line(process, "dropped a message that rclpy cannot take")
    health: list[Any] = []
    kind = EntropyHealth
    publisher.create_subscription(kind, "/detector_node/output/entropy_health", health.append, 10)
    while not any(m.level == EntropyHealth.STALE for m in health):  # it speaks on
        assert time.monotonic() < deadline
        executor.spin_once(0.1)
    process.send_signal(signal.SIGTERM)
    output = end(process)
    assert process.returncode == 0, output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "bundle:=/nowhere"], "detector_node: no bundle at /nowhere"),
        (["-p", "nms_io:=0.1"], "detector_node: unknown parameter nms_io (= 0.1); valid: "),
        (["-p", "backend:=abacus"], "detector_node: parameter backend is 'abacus': must be one of"),
        (["--params-file", "/nowhere.yaml"], "detector_node: failed to initialize rcl"),
    ],
)
def test_what_hinders_the_start_is_one_line_and_a_failure(
    arguments: list[str], message: str
) -> None:
    result = subprocess.run(
        [*COMMAND, "--ros-args", *arguments], capture_output=True, text=True, timeout=HANG_S
    )
    assert result.returncode == 1
    (line,) = (line for line in result.stderr.splitlines() if "[rcl]" not in line)
    assert line.startswith(message)


def test_the_shipped_parameter_file_starts_the_node(bundle: Path) -> None:
    config = Path(__file__).parents[1] / "config" / "detector.param.yaml"
    process = start(
        "--ros-args", "--params-file", str(config), "-p", f"bundle:={bundle}", "-p", "nms_iou:=1"
    )
    assert process.stdout is not None
    assert "tiny on ONNX Runtime" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=HANG_S) == 0
