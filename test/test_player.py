# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Player and recorder: schedule, stamps and corruption without ROS; then both through DDS."""

from __future__ import annotations

import itertools
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from processes import HANG_S, wait_for, wait_until_heeded

from eloss_perception.datasets.bags import messages
from eloss_perception.datasets.bags.reader import BagReader
from eloss_perception.datasets.bags.writer import BagWriter
from eloss_perception.errors import ConfigError, DataError
from eloss_perception.replay.drives import GROUND_TRUTH_TOPIC, POINTS_TOPIC
from eloss_perception.replay.message_edits import Restamper, stamp_leading_header
from eloss_perception.replay.playback import Playback
from eloss_perception.replay.player import main
from eloss_perception.replay.player_options import PlayerSettings
from eloss_perception.replay.ros_graph import split_ros_arguments
from eloss_perception.simulation.schedule import CorruptionWindow

START_NS = 1_000_000_000 * 10**9
PERIOD_NS = 100_000_000
CLOUD = "sensor_msgs/msg/PointCloud2"
MARKERS = "visualization_msgs/msg/MarkerArray"
TF = "tf2_msgs/msg/TFMessage"


def scan(index: int, num_points: int = 2000) -> npt.NDArray[np.float32]:
    points = np.random.default_rng(index).uniform(0.1, 1.0, (num_points, 4)).astype(np.float32)
    points[:, :3] *= 30.0
    return points


def write_bag(path: Path, num_frames: int = 5, num_points: int = 2000) -> Path:
    boxes = np.array([[10, 1, -1, 4, 2, 1.5, 0.3]], dtype=np.float32)
    with BagWriter(path) as bag:
        bag.add_topic(POINTS_TOPIC, CLOUD)
        bag.add_topic(GROUND_TRUTH_TOPIC, MARKERS)
        for index in range(num_frames):
            stamp = START_NS + index * PERIOD_NS
            cloud = messages.point_cloud(scan(index, num_points), stamp, "velodyne")
            markers = messages.ground_truth_markers(boxes, np.array([0]), stamp, "velodyne")
            bag.write(POINTS_TOPIC, stamp, cloud)
            bag.write(GROUND_TRUTH_TOPIC, stamp, markers)
    return path


@pytest.fixture
def bag(tmp_path: Path) -> Iterator[BagReader]:
    with BagReader(write_bag(tmp_path / "bag")) as reader:
        yield reader


def stamp_of(header: object) -> int:
    stamp = header.stamp  # type: ignore[attr-defined]
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


# ---------------------------------------------------------------------------------------- stamps


def test_a_leading_header_is_stamped_without_touching_the_rest() -> None:
    cloud = messages.point_cloud(scan(0), 5, "velodyne")
    for little in (True, False):
        data = bytes(messages.TYPESTORE.serialize_cdr(cloud, CLOUD, little_endian=little))
        stamped = stamp_leading_header(data, 12 * 10**9 + 34)
        again = messages.TYPESTORE.deserialize_cdr(stamped, CLOUD)
        assert (again.header.stamp.sec, again.header.stamp.nanosec) == (12, 34)
        assert again.header.frame_id == "velodyne"
        np.testing.assert_array_equal(again.data, cloud.data)


def test_headers_inside_are_stamped_too() -> None:
    restamper = Restamper(messages.TYPESTORE)
    boxes = np.array([[1, 2, 3, 4, 2, 1, 0]] * 3, dtype=np.float32)
    markers = messages.ground_truth_markers(boxes, np.zeros(3, dtype=np.int64), 5, "velodyne")
    data = bytes(messages.TYPESTORE.serialize_cdr(markers, MARKERS))
    stamped = messages.TYPESTORE.deserialize_cdr(restamper.restamp(data, MARKERS, 99), MARKERS)
    assert [stamp_of(marker.header) for marker in stamped.markers] == [99] * 4
    transform = messages.transforms([messages.transform(np.eye(4), "a", "b", 5)])
    data = bytes(messages.TYPESTORE.serialize_cdr(transform, TF))
    stamped = messages.TYPESTORE.deserialize_cdr(restamper.restamp(data, TF, 99), TF)
    assert stamp_of(stamped.transforms[0].header) == 99


def test_a_type_without_header_passes_unchanged() -> None:
    restamper = Restamper(messages.TYPESTORE)
    clock = messages.make("rosgraph_msgs/msg/Clock", clock=messages.time_message(7))
    data = bytes(messages.TYPESTORE.serialize_cdr(clock, "rosgraph_msgs/msg/Clock"))
    assert restamper.restamp(data, "rosgraph_msgs/msg/Clock", 99) is data


def test_a_stump_is_no_message() -> None:
    with pytest.raises(DataError, match="no header"):
        stamp_leading_header(b"\x00\x01\x00\x00", 1)


# -------------------------------------------------------------------------------------- schedule


def test_messages_are_due_on_the_bags_clock(bag: BagReader) -> None:
    due = [(m.topic, m.due_ns) for m in Playback(bag, rate=2.0)]
    assert [ns for topic, ns in due if topic == POINTS_TOPIC] == [i * 50_000_000 for i in range(5)]
    # The scan comes before what belongs to it.
    assert [topic for topic, _ in due[:2]] == [POINTS_TOPIC, GROUND_TRUTH_TOPIC]


def test_a_loop_goes_on_at_the_same_pace(bag: BagReader) -> None:
    playback = Playback(bag, loop=True, topics=[POINTS_TOPIC])
    due = [message.due_ns for message in itertools.islice(playback, 12)]
    assert due == [i * PERIOD_NS for i in range(12)]


def test_what_was_recorded_at_one_time_gets_one_stamp(bag: BagReader) -> None:
    playback = Playback(bag)
    stamps: dict[int, set[int]] = {}
    for now, message in enumerate(playback, start=1000):
        data = playback.stamp(message, now)
        decoded = bag.typestore.deserialize_cdr(data, message.message_type)
        headers = (
            [decoded.header]
            if message.topic == POINTS_TOPIC
            else [marker.header for marker in decoded.markers]
        )
        stamps.setdefault(message.due_ns, set()).update(map(stamp_of, headers))
    assert [len(found) for found in stamps.values()] == [1] * 5
    assert len(set.union(*stamps.values())) == 5


def test_only_scans_inside_the_window_are_corrupted(bag: BagReader) -> None:
    window = CorruptionWindow("point_dropout", 3, 0.1, 0.3)
    playback = Playback(bag, corruptions=[window], topics=[POINTS_TOPIC])
    playback.warm_up()
    original = [raw.data for raw in bag.messages([POINTS_TOPIC])]
    played = list(playback)
    assert [m.data == data for m, data in zip(played, original, strict=True)] == [
        True,
        False,
        False,
        True,
        True,
    ]
    cloud = bag.typestore.deserialize_cdr(played[1].data, CLOUD)
    assert cloud.width == pytest.approx(1200, abs=100)
    assert stamp_of(cloud.header) == START_NS + PERIOD_NS
    # The same schedule gives the same scans.
    again = list(Playback(bag, corruptions=[window], topics=[POINTS_TOPIC]))
    assert [m.data for m in again] == [m.data for m in played]


def bag_of(path: Path, stamps: list[int], topics: tuple[str, ...] = (POINTS_TOPIC,)) -> Path:
    """A bag whose first topic has clouds at these times."""
    with BagWriter(path) as bag:
        for topic in topics:
            bag.add_topic(topic, CLOUD)
        for stamp in stamps:
            bag.write(topics[0], stamp, messages.point_cloud(scan(0, 5), stamp, "velodyne"))
    return path


@pytest.mark.parametrize("stamps", [[5], [5, 5, 5], [5, 6, 7]])
def test_what_has_no_period_does_not_flood_in_a_loop(tmp_path: Path, stamps: list[int]) -> None:
    with BagReader(bag_of(tmp_path / "bag", stamps)) as reader:
        due = [m.due_ns for m in itertools.islice(Playback(reader, loop=True), 10 * len(stamps))]
    assert due[:: len(stamps)] == [i * PERIOD_NS for i in range(10)]


@pytest.mark.parametrize("loop", [False, True])
def test_nothing_to_play_is_an_error_that_names_the_topics(tmp_path: Path, loop: bool) -> None:
    bag_of(tmp_path / "bag", [5], ("/a", "/b"))
    bag_of(tmp_path / "empty", [], ("/a", "/b"))
    with BagReader(tmp_path / "bag") as reader, pytest.raises(DataError, match=r"no message.*: /b"):
        next(iter(Playback(reader, topics=["/b"], loop=loop)))
    with BagReader(tmp_path / "empty") as reader, pytest.raises(DataError, match="/a, /b"):
        next(iter(Playback(reader, loop=loop)))


def spoil(path: Path, index: int) -> Path:
    """Makes the cloud of this number claim more points than its message has bytes."""
    file = next(path.glob("*.mcap"))
    data = bytearray(file.read_bytes())
    cloud = messages.point_cloud(scan(index), START_NS + index * PERIOD_NS, "velodyne")
    serialized = bytes(messages.TYPESTORE.serialize_cdr(cloud, CLOUD))
    size = len(cloud.data).to_bytes(4, "little")
    at = data.index(serialized) + serialized.index(size + bytes(cloud.data[:8]))
    data[at : at + 4] = (2 * len(cloud.data)).to_bytes(4, "little")
    file.write_bytes(data)
    return path


def test_a_damaged_cloud_is_left_out_and_said_once(tmp_path: Path) -> None:
    said: list[DataError] = []
    with BagReader(spoil(write_bag(tmp_path / "bag"), 2)) as reader:
        played = list(Playback(reader).messages(said.append))
        with pytest.raises(DataError, match="no sensor_msgs/msg/PointCloud2"):
            list(Playback(reader))
    assert [m.topic for m in played].count(POINTS_TOPIC) == 4
    assert [m.topic for m in played].count(GROUND_TRUTH_TOPIC) == 5
    assert len(said) == 1
    assert "byte" in str(said[0])


# ---------------------------------------------------------------------------------- command line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0.0}, "rate is 0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"stamp": "then"}, "now, bag"),
        ({"clock_hz": 10.0}, "needs --stamp bag"),
        ({"clock_hz": -1.0, "stamp": "bag"}, "clock is -1"),
    ],
)
def test_settings_out_of_range_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PlayerSettings(bag=Path("bag"), **changes)  # type: ignore[arg-type]


def test_ros_arguments_are_split_off() -> None:
    line = ["bag", "--ros-args", "-r", "a:=b", "--", "--loop"]
    own, ros = split_ros_arguments(line)
    assert own == ["bag", "--loop"]
    assert ros == ["--ros-args", "-r", "a:=b", "--"]


@pytest.mark.parametrize(
    "arguments",
    [["--rate", "-1"], ["--corrupt", "smog:3"], ["--remap", "a=b"]],
)
def test_bad_arguments_are_one_line_and_status_2(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


KEYBOARD_SCRIPT = """
import os, sys, termios, time
from eloss_perception.replay.player_node import Keyboard
before = termios.tcgetattr(0)
keys = ""
give_up = time.monotonic() + 60.0
with Keyboard() as keyboard:
    os.write(1, b"ready")
    while "q" not in keys and time.monotonic() < give_up:
        keys += keyboard.pressed()
        time.sleep(0.01)
sys.exit(0 if keys == " q" and termios.tcgetattr(0) == before else 1)
"""


def test_keys_come_at_once_and_the_terminal_is_restored() -> None:
    child, descriptor = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", KEYBOARD_SCRIPT])
    seen = b""
    while b"ready" not in seen:
        seen += os.read(descriptor, 100)
    os.write(descriptor, b" q")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(descriptor)


# ------------------------------------------------------------------------------------ through DDS


def start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", f"eloss_perception.replay.{module}", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def test_what_is_played_is_what_is_recorded(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2")
    # Scans of full size: 2 MB each.
    source = write_bag(tmp_path / "source", num_frames=10, num_points=120_000)
    copy, report = tmp_path / "copy", tmp_path / "report.json"
    recorder = start("recorder", str(copy), POINTS_TOPIC, GROUND_TRUTH_TOPIC)
    try:
        before_ns = time.time_ns()
        player = start("player", str(source), "--wait-for-subscribers=1", f"--report={report}")
        assert player.wait(60) == 0, player.communicate()[1].decode()
        # Written as they come, into a folder that is hidden until it is complete.
        whole = 10 * scan(0, 120_000).nbytes
        growing = ".copy.*/**/*.mcap"
        assert wait_for(lambda: sum(p.stat().st_size for p in tmp_path.glob(growing)) > whole)
        recorder.send_signal(signal.SIGINT)
        assert recorder.wait(HANG_S) == 0
    finally:
        recorder.kill()
        recorder.communicate()
    played = json.loads(report.read_text())
    assert played["num_clouds"] == 10
    with BagReader(copy) as bag:
        clouds = [bag.deserialize(raw) for raw in bag.messages([POINTS_TOPIC])]
        markers = [bag.deserialize(raw) for raw in bag.messages([GROUND_TRUTH_TOPIC])]
    assert len(clouds) == len(markers) == 10
    stamps = [stamp_of(cloud.header) for cloud in clouds]
    assert stamps == [stamp_of(message.markers[0].header) for message in markers]
    assert before_ns < stamps[0]
    # No drift: the schedule is absolute, and how late a busy machine was is known.
    late_ns = 1e6 * played["worst_delay_ms"]
    assert stamps[-1] - stamps[0] == pytest.approx(9 * PERIOD_NS, abs=0.5 * PERIOD_NS + late_ns)
    for index, cloud in enumerate(clouds):
        expected = scan(index, 120_000).view(np.uint8).reshape(-1)
        np.testing.assert_array_equal(cloud.data, expected)


def play(*arguments: object) -> tuple[int, str]:
    """Status and standard error of a player."""
    player = start("player", *map(str, arguments))
    try:
        said = player.communicate(timeout=60)[1].decode()
    finally:
        player.kill()
    return player.returncode, said


def test_damage_is_passed_over_and_ends_in_status_2(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2")
    report = tmp_path / "report.json"
    path = spoil(write_bag(tmp_path / "bag"), 2)
    status, said = play(path, "--rate", "10", f"--report={report}")
    assert status == 2
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith("eloss replay: ")
    assert "1 damaged places; the first: " in said
    content = json.loads(report.read_text())
    assert (content["num_clouds"], content["num_damaged"]) == (4, 1)
    file = next(path.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    status, said = play(path, "--rate", "10")
    assert status == 2
    assert "the file ends in the middle of a record" in said
    assert f"promises 5 messages of {POINTS_TOPIC}" in said


def test_topics_that_cannot_be_played_are_left_out_by_name(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2")
    event = ("int64 a\nint64 b\n---\nint64 sum\n", "RIHS01_" + "0" * 64)
    other = ("uint8 data\n", "RIHS01_" + "1" * 64)
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic(POINTS_TOPIC, CLOUD)
        bag.add_topic("/srv/_service_event", "a_msgs/srv/Add_Event", definition=event)
        bag.add_topic("/changed", "std_msgs/msg/String", definition=other)
        bag.add_topic("/bad name", "std_msgs/msg/Bool")
        for index in range(3):
            stamp = START_NS + index * PERIOD_NS
            bag.write(POINTS_TOPIC, stamp, messages.point_cloud(scan(index), stamp, "velodyne"))
            for topic in ("/srv/_service_event", "/changed", "/bad name"):
                bag.write_serialized(topic, stamp, b"\x00\x01\x00\x00" + bytes(24))
    status, said = play(tmp_path / "bag", "--rate", "10")
    assert status == 0, said
    assert "played 3 scans, 3 messages" in said
    assert said.count("/srv/_service_event (a_msgs/srv/Add_Event) is left out") == 1
    assert said.count("/changed (std_msgs/msg/String) is left out: the bag defines") == 1
    assert said.count("/bad name (std_msgs/msg/Bool) is left out") == 1
    status, said = play(tmp_path / "bag", "--topics", "/changed")
    assert status == 2
    assert "nothing that can be played" in said
    status, said = play(tmp_path / "bag", "--loop", "--topics", "/nowhere")
    assert status == 2
    assert "no topic /nowhere" in said


def test_a_recording_carries_the_definitions_of_our_own_types(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2")
    from eloss_perception.datasets.bags.definitions import InstalledTypes

    installed = InstalledTypes()
    for name in ("eloss_perception/msg/EntropyHealth", "vision_msgs/msg/Detection3DArray"):
        installed.require(name)
        definition, _ = installed.typestore.generate_msgdef(name, ros_version=2)
        assert "header" in definition
    # vision_msgs 4.1.1's type hash, here from the definition that a recording would carry.
    digest = installed.typestore.hash_rihs01("vision_msgs/msg/Detection3DArray")
    assert digest == "RIHS01_793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018"
    with pytest.raises(DataError, match="no definition"):
        installed.require("nowhere_msgs/msg/Nothing")


@pytest.mark.parametrize("module", ["player", "recorder"])
@pytest.mark.parametrize("delay_s", [0.0, 0.5, 2.5])
def test_a_signal_ends_a_program_in_order(tmp_path: Path, module: str, delay_s: float) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2")
    arguments = {
        "player": [str(write_bag(tmp_path / "bag")), "--loop", "--clock"],
        "recorder": [str(tmp_path / "recording"), "/nothing"],
    }
    process = start(module, *arguments[module])
    try:
        wait_until_heeded(process, signal.SIGTERM)
        time.sleep(delay_s)
        process.send_signal(signal.SIGTERM)
        status = process.wait(HANG_S)
    finally:
        process.kill()
    assert "Traceback" not in process.communicate()[1].decode()
    assert status == 0


def test_paused_means_paused(tmp_path: Path) -> None:
    rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
    from sensor_msgs.msg import PointCloud2
    from std_srvs.srv import SetBool

    # The service may be found before the topic: without waiting the first scans would go unheard.
    options = ("--start-paused", "--wait-for-subscribers", "1")
    player = start("player", str(write_bag(tmp_path / "bag")), *options)
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("listener", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    received: list[PointCloud2] = []
    node.create_subscription(PointCloud2, POINTS_TOPIC, received.append, 10)
    client = node.create_client(SetBool, "/player/pause")
    try:
        assert client.wait_for_service(timeout_sec=HANG_S)
        deadline = time.monotonic() + 0.7
        while time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.05)
        assert received == []
        client.call_async(SetBool.Request(data=False))
        deadline = time.monotonic() + HANG_S
        while time.monotonic() < deadline and len(received) < 5:
            executor.spin_once(timeout_sec=0.05)
        assert len(received) == 5
        assert player.wait(HANG_S) == 0
    finally:
        player.kill()
        player.communicate()
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
