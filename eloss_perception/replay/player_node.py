# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node behind `eloss replay`: publishers for a bag's topics and the loop that feeds them."""

from __future__ import annotations

import itertools
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock
from std_srvs.srv import SetBool

from eloss_perception.datasets.bags import CLOUD_TYPE
from eloss_perception.datasets.bags.reader import BagReader
from eloss_perception.detection.sensors import find_sensor
from eloss_perception.errors import ConfigError, DataError, printable
from eloss_perception.interrupts import StopSignal
from eloss_perception.replay.playback import DueMessage, Playback, PlaybackReport
from eloss_perception.replay.player_options import PlayerSettings
from eloss_perception.replay.read_ahead import ReadAhead
from eloss_perception.replay.ros_graph import playable_class, qos_profile

# Waking up takes the executor about this long; the rest of a wait is slept off exactly.
_WAKE_UP_S = 0.002
# Keys and signals are looked at this often while nothing is due.
_SLICE_S = 0.05
# Who subscribes to the scans may be about to subscribe to what goes with them.
_SETTLE_S = 0.4
_ACKNOWLEDGE_TIMEOUT_S = 2.0


class PlayerNode(Node):
    """A node with a publisher for each topic of a bag."""

    def __init__(self, settings: PlayerSettings, bag: BagReader, context: rclpy.Context) -> None:
        super().__init__("player", context=context)
        self.report = PlaybackReport()
        self._settings = settings
        self._tell_what_is_wrong(bag)
        self._publishers_by_topic = self._create_publishers(bag)
        self._playback = Playback(
            bag,
            rate=settings.rate,
            loop=settings.loop,
            corruptions=settings.corruptions,
            sensor=find_sensor(settings.sensor) if settings.sensor is not None else None,
            topics=tuple(self._publishers_by_topic),
        )
        self._clock_publisher = (
            self.create_publisher(Clock, "/clock", 1) if settings.clock_hz else None
        )
        self._next_clock_ns = 0
        self._is_paused = settings.start_paused
        self.create_service(SetBool, "~/pause", self._on_pause)

    def _create_publishers(self, bag: BagReader) -> dict[str, Publisher]:
        names = dict(self._settings.remap)
        chosen = self._settings.topics or tuple(bag.topics)
        for name in (*chosen, *names):
            if name not in bag.topics:
                raise ConfigError(f"no topic {name} in {bag.path}: {', '.join(sorted(bag.topics))}")
        publishers = {}
        for name in chosen:
            topic = bag.topics[name]
            try:
                message_class = playable_class(topic.message_type, bag.typestore)
                publishers[name] = self.create_publisher(
                    message_class, names.get(name, name), qos_profile(topic.qos)
                )
            except (DataError, NameValidationException) as error:
                what = f"{printable(name)} ({printable(topic.message_type)})"
                self.get_logger().warning(f"{what} is left out: {printable(error)}")
        if not publishers:
            raise DataError(f"{bag.path} holds nothing that can be played here")
        if not any(bag.topics[name].num_messages for name in publishers):
            raise DataError(
                f"{bag.path} holds no message of {', '.join(map(printable, publishers))}"
            )
        return publishers

    def _tell_what_is_wrong(self, bag: BagReader) -> None:
        for text in bag.losses:
            self.get_logger().error(text)
        for text in bag.warnings:
            self.get_logger().warning(text)

    def _on_damage(self, error: DataError) -> None:
        if self.report.add_damage(error):
            self.get_logger().error(str(error))

    def play(self, stop: StopSignal, keyboard: Keyboard) -> PlaybackReport:
        """Publishes until the end of the bag or a signal; returns what was published."""
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(self)
        try:
            self._playback.warm_up()
            with ReadAhead(self._playback.messages, self._on_damage) as messages:
                self._publish_all(messages, stop, executor, keyboard)
            self._wait_for_acknowledgement(stop)
        except KeyboardInterrupt:
            if not stop.is_set:
                raise
        finally:
            self._log_report()
            executor.remove_node(self)
            executor.shutdown()
        return self.report

    def _publish_all(
        self,
        messages: Iterable[DueMessage],
        stop: StopSignal,
        executor: SingleThreadedExecutor,
        keyboard: Keyboard,
    ) -> None:
        ahead = iter(messages)
        first = next(ahead)  # what opening the file costs is no delay of its message
        self._wait_for_subscribers(stop, executor)
        # From here on `start_ns` is when the bag's first message was due; a pause moves it.
        start_ns = time.monotonic_ns()
        for message in itertools.chain([first], ahead):
            start_ns = self._wait_until_due(message, start_ns, stop, executor, keyboard)
            if stop.is_set:
                break
            delay_ns = time.monotonic_ns() - start_ns - message.due_ns
            try:
                self._publish(message)
            except DataError as error:
                self._on_damage(error)
            else:
                self.report.count(message, delay_ns)

    def _wait_until_due(
        self,
        message: DueMessage,
        start_ns: int,
        stop: StopSignal,
        executor: SingleThreadedExecutor,
        keyboard: Keyboard,
    ) -> int:
        """Serves keys, services and the clock until the message is due; returns the new start."""
        while not stop.is_set:
            if " " in keyboard.pressed():
                self._set_paused(not self._is_paused)
            if self._is_paused:
                pause_ns = time.monotonic_ns()
                executor.spin_once(timeout_sec=_SLICE_S)
                start_ns += time.monotonic_ns() - pause_ns
                continue
            remaining_s = (start_ns + message.due_ns - time.monotonic_ns()) / 1e9
            if self._clock_publisher is not None:
                self._publish_clock(message.bag_ns - round(remaining_s * 1e9 * self._settings.rate))
            if remaining_s <= _WAKE_UP_S:
                time.sleep(max(remaining_s, 0.0))
                return start_ns
            slice_s = min(_SLICE_S, remaining_s - _WAKE_UP_S)
            if self._clock_publisher is not None:
                slice_s = min(slice_s, 1.0 / self._settings.clock_hz)
            executor.spin_once(timeout_sec=slice_s)
        return start_ns

    def _publish(self, message: DueMessage) -> None:
        data = message.data
        if self._settings.stamp == "now":
            data = self._playback.stamp(message, self.get_clock().now().nanoseconds)
        self._publishers_by_topic[message.topic].publish(data)

    def _publish_clock(self, bag_ns: int) -> None:
        now_ns = time.monotonic_ns()
        if self._clock_publisher is None or now_ns < self._next_clock_ns:
            return
        self._next_clock_ns = now_ns + round(1e9 / self._settings.clock_hz)
        clock = Clock()
        clock.clock.sec, clock.clock.nanosec = divmod(max(bag_ns, 0), 10**9)
        self._clock_publisher.publish(clock)

    def _wait_for_subscribers(self, stop: StopSignal, executor: SingleThreadedExecutor) -> None:
        """Returns once every point cloud has its subscribers, or on a signal.

        Raises:
            DataError: They did not come in time.
        """
        wanted = self._settings.wait_for_subscribers
        clouds = [
            publisher
            for publisher in self._publishers_by_topic.values()
            if publisher.msg_type.__name__ == CLOUD_TYPE.rpartition("/")[2]
        ]
        give_up = time.monotonic() + self._settings.wait_timeout_s
        last_counts: list[int] = []
        settled = 0.0
        while not stop.is_set:
            missing = [p for p in clouds if p.get_subscription_count() < wanted]
            counts = [p.get_subscription_count() for p in self._publishers_by_topic.values()]
            if counts != last_counts:
                last_counts, settled = counts, time.monotonic() + _SETTLE_S
            if not missing and (not wanted or time.monotonic() > settled):
                return
            if time.monotonic() > give_up:
                raise DataError(
                    f"{missing[0].topic_name} has {missing[0].get_subscription_count()} of"
                    f" {wanted} subscribers after {self._settings.wait_timeout_s:g} s"
                )
            executor.spin_once(timeout_sec=_SLICE_S)

    def _wait_for_acknowledgement(self, stop: StopSignal) -> None:
        """Lets reliable subscribers get the last messages before the publishers go."""
        give_up = time.monotonic() + _ACKNOWLEDGE_TIMEOUT_S
        for publisher in self._publishers_by_topic.values():
            remaining_s = give_up - time.monotonic()
            if remaining_s > 0.0 and not stop.is_set:
                publisher.wait_for_all_acked(Duration(seconds=remaining_s))

    def _log_report(self) -> None:
        report, log = self.report, self.get_logger()
        total = sum(report.num_published.values())
        log.info(f"played {report.num_clouds} scans, {total} messages")
        if report.num_late:
            log.warning(
                f"{report.num_late} of {report.num_clouds} scans came late,"
                f" by up to {report.worst_delay_ms:.0f} ms"
            )

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._set_paused(request.data)
        response.success = True
        response.message = "paused" if self._is_paused else "playing"
        return response

    def _set_paused(self, is_paused: bool) -> None:
        self._is_paused = is_paused
        self.get_logger().info("paused" if is_paused else "playing")


class Keyboard:
    """Context manager: the terminal hands over keys at once; it is as before afterwards.

    Where standard input is no terminal, or another process group holds it, no key is ever pressed.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._previous: list[Any] = []

    def __enter__(self) -> Keyboard:
        try:
            descriptor = sys.stdin.fileno()
            # A background job that touched its terminal would be stopped by SIGTTOU.
            if os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp():
                self._previous = termios.tcgetattr(descriptor)
                tty.setcbreak(descriptor)
                self._descriptor = descriptor
        except (OSError, ValueError, termios.error):
            self._descriptor = None
        return self

    def pressed(self) -> str:
        """Returns the keys pressed since the last call, without waiting."""
        if self._descriptor is None or not select.select([self._descriptor], [], [], 0)[0]:
            return ""
        return os.read(self._descriptor, 64).decode(errors="ignore")

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._descriptor is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._previous)
