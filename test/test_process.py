# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The detector's process: it ends at once and quietly on a signal, and says why it cannot start."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
tiny_bundle = pytest.importorskip("tiny_bundle", reason="needs onnx")

COMMAND = [sys.executable, "-m", "eloss_perception.ros.process"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")  # type: ignore[no-any-return]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["imports", "loading", "work"])
def test_a_signal_ends_it_within_two_seconds(
    bundle: Path, number: signal.Signals, moment: str
) -> None:
    process = start("--ros-args", "-p", f"bundle:={bundle}")
    assert process.stdout is not None
    if moment == "imports":
        time.sleep(0.4)
    elif moment == "loading":
        time.sleep(1.1)
    else:
        assert "tiny on ONNX Runtime" in process.stdout.readline()
        time.sleep(0.5)
    sent = time.monotonic()
    process.send_signal(number)
    try:
        output, _ = process.communicate(timeout=10.0)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert time.monotonic() - sent < 2.0
    assert process.returncode == 0, output
    assert "Traceback" not in output


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
        [*COMMAND, "--ros-args", *arguments], capture_output=True, text=True, timeout=30.0
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
    assert process.wait(timeout=10.0) == 0
