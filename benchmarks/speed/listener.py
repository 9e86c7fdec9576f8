# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Hears what the detector publishes, as a planner on the vehicle would, and notes when."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray
from std_srvs.srv import SetBool
from vision_msgs.msg import Detection3DArray

from eloss_perception.errors import DataError
from eloss_perception.interrupts import check_interrupt
from eloss_perception.msg import EntropyHealth, ProcessingTime
from eloss_perception.replay.demo.record import STAGES
from eloss_perception.replay.ros_graph import GraphListener

DETECTOR = "/detector_node"
_DEPTH = 200
# A serialised message begins with four bytes that name its byte order; a header begins with sec and
# nanosec. (OMG DDS-RTPS 2.2, section 10.2; all machines that ROS 2 supports are little-endian.)
_STAMP = struct.Struct("<iI")
_STAMP_OFFSET = 4


@dataclass(slots=True)
class Answers:
    """What came back.

    Attributes:
        latency_ms: From a scan's stamp to the arrival of its boxes here, by stamp in nanoseconds.
        stage_ms: The node's own stages, by stamp in nanoseconds.
        num_dropped: What the node counts as received and not answered.
        num_bytes: Of the boxes' messages.
    """

    latency_ms: dict[int, float] = field(default_factory=dict)
    stage_ms: dict[int, dict[str, float]] = field(default_factory=dict)
    num_dropped: int = 0
    num_bytes: int = 0


class Listener(GraphListener):
    """Listens to the detector and can pause the player.

    Attributes:
        answers: Since the last `clear`.
        diagnostics: What the detector last said of itself, by the keys of all its tasks.
    """

    node_name = "benchmark_listener"

    def __init__(self, domain_id: int) -> None:
        super().__init__(domain_id)
        self.answers = Answers()
        self.diagnostics: dict[str, str] = {}

    def subscribe(self) -> None:
        """Listens to what a vehicle would."""
        subscribe = self.node.create_subscription
        subscribe(
            Detection3DArray,
            f"{DETECTOR}/output/detections",
            self._on_detections,
            _DEPTH,
            raw=True,  # taking a hundred boxes apart is not what is measured
        )
        # Heard because a vehicle hears it: what nobody subscribes to costs the node nothing.
        subscribe(
            EntropyHealth,
            f"{DETECTOR}/output/entropy_health",
            lambda data: None,
            _DEPTH,
            raw=True,
        )
        subscribe(ProcessingTime, f"{DETECTOR}/debug/processing_time", self._on_time, _DEPTH)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, _DEPTH)
        self._pause = self.node.create_client(SetBool, "/player/pause")

    def clear(self) -> None:
        """Forgets what came."""
        self.answers = Answers()

    def spin(self, duration_s: float) -> None:
        """Serves what arrives for this long."""
        end = time.monotonic() + duration_s
        while (remaining_s := end - time.monotonic()) > 0.0:
            check_interrupt()
            self.spin_once(min(remaining_s, 0.05))

    def pause_player(self, timeout_s: float) -> bool:
        """Pauses the player; returns whether it confirmed."""
        if not self._pause.wait_for_service(timeout_sec=timeout_s):
            return False
        answer = self._pause.call_async(SetBool.Request(data=True))
        end = time.monotonic() + timeout_s
        while not answer.done() and time.monotonic() < end:
            self.spin(0.02)
        return bool(answer.done())

    def _on_detections(self, data: bytes) -> None:
        now_ns = time.time_ns()
        if len(data) < _STAMP_OFFSET + _STAMP.size:
            raise DataError(f"a message of {len(data)} bytes holds no header")
        sec, nanosec = _STAMP.unpack_from(data, _STAMP_OFFSET)
        stamp_ns = sec * 10**9 + nanosec
        self.answers.latency_ms[stamp_ns] = (now_ns - stamp_ns) / 1e6
        self.answers.num_bytes += len(data)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(f"{DETECTOR[1:]}: "):
                self.diagnostics |= {entry.key: entry.value for entry in status.values}

    def _on_time(self, message: ProcessingTime) -> None:
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self.answers.stage_ms[stamp_ns] = {
            name: float(getattr(message, f"{name}_ms")) for name in STAGES
        }
        self.answers.num_dropped = int(message.num_frames_dropped)
