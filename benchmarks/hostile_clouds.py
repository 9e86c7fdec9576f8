# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Throws hostile clouds at the real node: detector, health monitor and all messages, no fake.

The clouds are `cloud_fuzzer.py`'s. The node may answer it or drop it with the
reason, and nothing else: every cloud sent has to be accounted for, and its memory must not
grow. Cloud number i depends on the seed and i alone, so that one can be thrown again.

Without a bundle the network is one of a dozen operators, as the tests have it, for which a million
takes half an hour; it needs `onnx` (`./run test` installs it).

    ./run python benchmarks/hostile_clouds.py --clouds 1000000
    ./run python benchmarks/hostile_clouds.py --clouds 20000 --bundle models/pillars_light
    ./run python benchmarks/hostile_clouds.py --seed 0 --first 123456 --clouds 1
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import rclpy
from rclpy.context import Context
from rclpy.logging import LoggingSeverity
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from benchmarks.cloud_fuzzer import hostile_cloud
from benchmarks.speed.machine import rss_mb
from eloss_perception.interrupts import StopSignal, check_interrupt
from eloss_perception.ros.node import DetectorNode

# Of so many clouds one is answered with markers and gauge.
_PICTURES_EVERY = 16


@dataclass
class Report:
    """What the node did with the clouds.

    Attributes:
        num_sent: Clouds thrown.
        num_answered: Those that came back as boxes and health.
        dropped: How many were dropped, by the reason, names and numbers left out of it.
        rss_mb: Resident memory at points of the run, the warm-up left out [MB].
        seconds: How long it took.
    """

    num_sent: int = 0
    num_answered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    rss_mb: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_accounted_for(self) -> bool:
        """Whether sent = answered + dropped by name."""
        return self.num_sent == self.num_answered + sum(self.dropped.values())


class Target:
    """Context manager: the node with a bundle, and somebody who looks at all that it publishes."""

    def __init__(self, bundle: Path) -> None:
        self._bundle = bundle
        self._stack = ExitStack()

    def __enter__(self) -> Target:
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        context = Context()
        rclpy.init(args=[], context=context)
        self._stack.callback(context.try_shutdown)
        parameters = {"bundle": str(self._bundle), "backend": "onnxruntime_cpu", "num_threads": 1}
        self.node = DetectorNode(
            context=context,
            parameter_overrides=[Parameter(k, value=v) for k, v in parameters.items()],
        )
        self._stack.callback(self.node.destroy_node)
        self._stack.callback(self.node.close)
        # Pictures take longer than all the rest: some answers have them.
        settings = self.node.settings
        hidden = {"publish_markers": False, "publish_gauge": False}
        self._settings = [settings.model_copy(update=hidden)] * _PICTURES_EVERY
        self._settings[0] = settings
        # Each drop is a line otherwise.
        self.node.get_logger().set_level(LoggingSeverity.FATAL)
        self.node.start()
        # Markers and gauge are made for someone who looks; nobody has to read them.
        watcher = Node("watcher", context=context)
        self._stack.callback(watcher.destroy_node)
        outputs = self.node.outputs
        for publisher, topic in ((outputs.markers, "markers"), (outputs.gauge, "entropy_gauge")):
            watcher.create_subscription(
                MarkerArray, f"/detector_node/output/{topic}", lambda msg: None, 1
            )
            while not publisher.get_subscription_count():
                check_interrupt()
                time.sleep(0.01)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def throw(self, msg: PointCloud2, report: Report) -> None:
        """Has the node work on a cloud, and notes the outcome.

        Raises:
            Exception: The node let something escape, or lost count: a bug.
        """
        status = self.node.status
        answered, dropped = status.num_answered, status.num_dropped
        self.node.settings = self._settings[report.num_sent % _PICTURES_EVERY]
        self.node.process(msg)
        report.num_sent += 1
        if status.num_answered == answered + 1:
            report.num_answered += 1
            assert status.report is not None and math.isfinite(status.report.score)  # noqa: S101
        elif status.num_dropped == dropped + 1 and status.last_error:
            report.dropped[kind_of(status.last_error)] += 1


def kind_of(reason: str) -> str:
    """A reason without what differs from cloud to cloud."""
    text = re.sub(r"'(?:[^'\\]|\\.)*'(?:\.\.\. \(\d+ characters\))?", "'...'", reason)
    text = re.sub(r"(;|: ).*", "", text, flags=re.DOTALL)
    return re.sub(r"-?\d+", "N", text)[:80]


def throw_all(
    target: Target,
    seed: int,
    first: int,
    number: int,
    progress: Callable[[int, Report], None] = lambda done, report: None,
) -> Report:
    """Throws clouds one after the other.

    Raises:
        RuntimeError: The node let something escape; says which cloud did it.
    """
    report = Report()
    start = time.monotonic()
    warm = min(number // 10, 20_000)
    for done in range(number):
        check_interrupt()
        try:
            target.throw(hostile_cloud(seed, first + done), report)
        except Exception as error:
            where = f"--seed {seed} --first {first + done} --clouds 1"
            raise RuntimeError(f"cloud {first + done} ({where}): {error!r}") from error
        if done >= warm and (done - warm) % max(1, (number - warm) // 20) == 0:
            report.rss_mb.append(rss_mb(os.getpid()))
        report.seconds = time.monotonic() - start
        progress(done + 1, report)
    return report


def tiny_bundle(folder: Path) -> Path:
    """Writes the tests' own bundle into a folder."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "test"))
    from tiny_bundle import write_tiny_bundle

    return write_tiny_bundle(folder)


def main() -> int:
    """Throws them and prints the counts; 1 where the node failed on one or grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clouds", type=int, default=1_000_000, help="how many (%(default)s)")
    parser.add_argument("--bundle", type=Path, help="whose network (default: a tiny one)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first cloud")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()

    shown = 0.0

    def progress(done: int, report: Report) -> None:
        nonlocal shown
        if report.seconds - shown < 5.0 and done < arguments.clouds:
            return
        shown = report.seconds
        print(
            f"{done} of {arguments.clouds} clouds, {1e3 * report.seconds / done:.2f} ms each,"
            f" {report.num_answered} answered, {rss_mb(os.getpid()):.0f} MB",
            file=sys.stderr,
            flush=True,
        )

    with (
        tempfile.TemporaryDirectory() as scratch,
        StopSignal() as stop,
        Target(arguments.bundle or tiny_bundle(Path(scratch))) as target,
    ):
        try:
            report = throw_all(target, arguments.seed, arguments.first, arguments.clouds, progress)
        except KeyboardInterrupt:
            return stop.exit_status
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
    return _say(report, arguments.json)


# Pages come and go; a leak of 30 bytes a cloud shows.
_MAX_GROWTH_MB = 30.0


def _say(report: Report, path: Path | None) -> int:
    print(f"sent      {report.num_sent:9d}")
    print(f"answered  {report.num_answered:9d}")
    for reason, number in report.dropped.most_common():
        print(f"dropped   {number:9d}  {reason}")
    memory = report.rss_mb
    middle = memory[len(memory) // 2] if memory else 0.0
    ends = (memory[0], memory[-1]) if memory else (0.0, 0.0)
    print(
        f"memory    {ends[0]:.0f} MB after the warm-up, {middle:.0f} in the middle, {ends[1]:.0f}"
        f" at the end; {1e3 * report.seconds / max(1, report.num_sent):.2f} ms a cloud"
    )
    problems = []
    if not report.is_accounted_for:
        problems.append("sent is not answered + dropped")
    if ends[1] - ends[0] > _MAX_GROWTH_MB:
        problems.append(f"memory grew by more than {_MAX_GROWTH_MB:g} MB")
    print("; ".join(problems) or "no crash, sent = answered + dropped, memory flat")
    if path is not None:
        path.write_text(json.dumps(vars(report), indent=2) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
