# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss demo`: a drive played through DDS, the detector answering, everything recorded and shown.

Read `run_demo` first. Player, detector and recorder are processes of their own, as on a vehicle;
this one only starts them, waits, stops them, and reads what was recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eloss_perception.errors import ConfigError, DataError, ElossError
from eloss_perception.ros.console import Console
from eloss_perception.ros.stop_signal import StopSignal
from eloss_perception.simulation.schedule import CorruptionWindow, parse_corruption_window

if TYPE_CHECKING:
    from eloss_perception.kitti.dataset import KittiSequence
    from eloss_perception.ros.demo_record import DemoRecord

RATE_HZ = 10.0
DEFAULT_NUM_FRAMES = 150
QUICK_NUM_FRAMES = 40
DEFAULT_SEED = 1

EXIT_LOST_FRAMES = 1
EXIT_ERROR = 2

_START_TIMEOUT_S = 60.0
# Diagnostics come once a second, and the last scans still have to be answered.
_SETTLE_S = 1.3
_LEVELS = ("OK", "WARN", "ERROR", "STALE")


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What the demo shows.

    Attributes:
        output: Folder of the results, made if needed.
        kitti: Folder with a KITTI tracking sequence; None for a simulated drive.
        num_frames: Scans to play; None for 150 simulated ones, or the whole sequence.
        bundle: Model bundle; None for the one that is shipped.
        corruptions: What the sensor suffers; None for fog and then lost beams in a simulated drive,
            and nothing in a real one.
        seed: Of the simulated drive.
    """

    output: Path = Path("demo_output")
    kitti: Path | None = None
    num_frames: int | None = None
    bundle: Path | None = None
    corruptions: tuple[CorruptionWindow, ...] | None = None
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        if self.num_frames is not None and self.num_frames < 1:
            raise ConfigError(f"num_frames is {self.num_frames}; at least 1 is needed")


def default_corruptions(num_frames: int) -> tuple[CorruptionWindow, ...]:
    """A third of the drive clean, then fog, then lost beams, and the last fifth clean again."""
    duration_s = num_frames / RATE_HZ
    fog_s, beams_s, end_s = (round(share * duration_s, 1) for share in (1 / 3, 0.57, 0.8))
    if not 0.0 < fog_s < beams_s < end_s:
        return ()
    return (
        CorruptionWindow("fog", 5, fog_s, beams_s),
        CorruptionWindow("beam_missing", 3, beams_s, end_s),
    )


def run_demo(settings: DemoSettings, console: Console | None = None) -> int:
    """Runs the demo from start to pictures.

    Returns:
        0; 1 if a scan was neither answered nor counted as dropped; 128 + n after signal n. No
        process is left behind, whatever happens.

    Raises:
        ElossError: The bundle or the data is unusable, or a process failed.
    """
    console = console or Console()
    with StopSignal() as stop:

        def check() -> None:
            if stop.is_set:
                raise KeyboardInterrupt

        try:
            return _run(settings, console, stop, check)
        except KeyboardInterrupt:
            console.line("stopped")
            return 128 + (stop.number or signal.SIGINT)
        finally:
            console.clear()


def _run(
    settings: DemoSettings, console: Console, stop: StopSignal, check: Callable[[], None]
) -> int:
    from eloss_perception.runtime.bundle import Bundle, default_bundle_path

    bundle = (settings.bundle or default_bundle_path()).absolute()
    Bundle.load(bundle).require_health()
    output = settings.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    _remove_earlier_results(output)

    bag, num_frames, title, sequence = _prepare_input(settings, output, console, check)
    corruptions = settings.corruptions
    if corruptions is None:
        corruptions = () if settings.kitti else default_corruptions(num_frames)
    num_sent = _play_and_record(bag, bundle, corruptions, output, console, stop)
    check()

    from eloss_perception.ros.demo_pictures import DemoPictures
    from eloss_perception.ros.demo_record import read_record
    from eloss_perception.ros.demo_summary import summary_lines

    def progress(done: int, total: int) -> None:
        check()
        console.progress("pictures ", done, total)

    record = read_record(output / "recording", num_sent, 1.0 / RATE_HZ, corruptions)
    pictures = DemoPictures(record, corruptions, RATE_HZ, title, output)
    cars, written = pictures.draw(progress)
    if sequence is not None:
        written += _camera_picture(record, sequence, output)
    lines = summary_lines(record, cars)
    (output / "summary.txt").write_text("\n".join(lines) + "\n")
    console.line()
    for line in lines:
        console.line(line)
    console.line()
    console.line(f"Pictures  {_shown(output)}/: {', '.join(path.name for path in written)}")
    console.line(
        f"Recording {_shown(output / 'recording')}: open it in Foxglove, or play it with"
        " `eloss replay` or `ros2 bag play` beside `rviz2 -d config/eloss.rviz`"
    )
    return EXIT_LOST_FRAMES if record.num_lost > 0 else 0


def _prepare_input(
    settings: DemoSettings, output: Path, console: Console, check: Callable[[], None]
) -> tuple[Path, int, str, KittiSequence | None]:
    """Returns the bag to play, its number of scans, what it shows, and the KITTI data if any."""
    from eloss_perception.ros.demo_input import drive_bag, find_sequence, kitti_bag

    start = time.monotonic()
    made = 0

    def progress(done: int, total: int) -> None:
        nonlocal made
        check()
        made = done
        console.progress("drive    ", done, total)

    if settings.kitti is not None:
        sequence = find_sequence(settings.kitti)
        bag = kitti_bag(output / "input", sequence, settings.num_frames, progress)
        num_frames = min(len(sequence), settings.num_frames or len(sequence))
        title = f"KITTI sequence {sequence.sequence}"
    else:
        sequence = None
        num_frames = settings.num_frames or DEFAULT_NUM_FRAMES
        bag = drive_bag(output / "input", settings.seed, num_frames, progress)
        title = "Simulated drive"
    how = f"made in {time.monotonic() - start:.1f} s" if made else "kept from an earlier run"
    console.line(f"drive     {title}, {num_frames} scans at {RATE_HZ:g} Hz ({how})")
    return bag, num_frames, title, sequence


def _play_and_record(
    bag: Path,
    bundle: Path,
    corruptions: Sequence[CorruptionWindow],
    output: Path,
    console: Console,
    stop: StopSignal,
) -> int:
    """Plays the drive to the detector while everything is recorded; returns the scans played."""
    from eloss_perception.ros import bag as topics
    from eloss_perception.ros.demo_record import DETECTOR
    from eloss_perception.ros.demo_watch import Watch
    from eloss_perception.ros.processes import ChildProcesses, ProcessError

    # Two demos on one machine must not hear each other.
    domain = os.environ.get("ROS_DOMAIN_ID") or str(1 + os.getpid() % 100)
    report = output / "logs" / "player.json"
    recorded = [
        topics.POINTS_TOPIC,
        topics.GROUND_TRUTH_TOPIC,
        topics.IMAGE_TOPIC,
        topics.CAMERA_INFO_TOPIC,
        topics.TF_STATIC_TOPIC,
        *(
            f"{DETECTOR}/output/{name}"
            for name in ("detections", "markers", "entropy_health", "entropy_gauge")
        ),
        f"{DETECTOR}/debug/processing_time",
        "/diagnostics",
    ]
    program = [sys.executable, "-m"]
    with ExitStack() as stack:
        children = stack.enter_context(
            ChildProcesses(output / "logs", {"ROS_DOMAIN_ID": domain, "PYTHONUNBUFFERED": "1"})
        )
        recorder = children.start(
            "recorder",
            [
                *(*program, "eloss_perception.ros.recorder"),
                *(str(output / "recording"), "--overwrite", *recorded),
            ],
        )
        detector = children.start(
            "detector",
            [
                *(*program, "eloss_perception.ros.process", "--ros-args"),
                *("-p", f"bundle:={bundle}"),
                *("-r", f"~/input/pointcloud:={topics.POINTS_TOPIC}"),
            ],
        )
        console.line(
            "processes recorder, detector and player on"
            f" ROS_DOMAIN_ID={domain}, logs in {_shown(output / 'logs')}/"
        )
        console.status("processes starting")
        watch = stack.enter_context(Watch(DETECTOR, int(domain)))
        watch.wait_until_active(stop, _START_TIMEOUT_S, children.check)
        _raise_if(stop)
        player = children.start(
            "player",
            [
                *(*program, "eloss_perception.ros.player", str(bag)),
                *("--wait-for-subscribers", "2", "--report", str(report)),
                *(f"--corrupt={window}" for window in corruptions),
            ],
        )
        while player.return_code is None:
            _raise_if(stop)
            children.check()
            watch.spin(0.05)
            health = watch.newest
            if health is not None:
                level = _LEVELS[int.from_bytes(health.level, "little")]
                console.status(
                    f"playing   scan {watch.num_answers}: health {level}, score {health.score:.2g}"
                    f" (threshold {health.threshold:.2g})"
                )
        player.check()
        settled = time.monotonic() + _SETTLE_S
        while time.monotonic() < settled:
            _raise_if(stop)
            children.check()
            watch.spin(0.05)
        # The detector first, so that its last words are recorded too.
        for child in (detector, recorder):
            if child.stop() != 0:
                raise ProcessError(child.describe_failure())
    try:
        return int(json.loads(report.read_text())["num_clouds"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{report} is not the player's report: {error}") from error


def _camera_picture(record: DemoRecord, sequence: KittiSequence, output: Path) -> list[Path]:
    """Draws the boxes into the camera's image of the middle of the sequence, where there is one."""
    import numpy as np
    from PIL import Image

    from eloss_perception.core.classes import CLASS_NAMES
    from eloss_perception.viz.camera import render_camera
    from eloss_perception.viz.files import save_png

    index = len(record.frames) // 2
    frame, frame_id = record.frames[index], sequence.ids[index]
    image_path = sequence.image_path(frame_id)
    if frame.boxes is None or image_path is None:
        return []
    with Image.open(image_path) as image:
        pixels = np.asarray(image.convert("RGB"))
    calibration = sequence.calibration(frame_id)
    path = output / "camera.png"
    save_png(path, render_camera(pixels, frame.boxes, CLASS_NAMES, calibration.lidar_to_image))
    return [path]


def _remove_earlier_results(output: Path) -> None:
    patterns = ("birds_eye_*.png", "entropy_profile_*.png", "health_timeline.png", "camera.png")
    for pattern in (*patterns, "drive.gif", "summary.txt"):
        for path in output.glob(pattern):
            path.unlink()


def _raise_if(stop: StopSignal) -> None:
    if stop.is_set:
        raise KeyboardInterrupt


def _shown(path: Path) -> str:
    """The path as its reader would type it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the demo's options to a parser."""
    add = parser.add_argument
    add("--kitti", type=Path, metavar="ROOT", help="play a KITTI tracking sequence instead")
    add("--frames", type=int, metavar="N", help="scans to play (default: 150, or the sequence)")
    add("--quick", action="store_true", help="a short drive of 4 s")
    add("--bundle", type=Path, metavar="DIR", help="model bundle (default: the one shipped)")
    add(
        "--corrupt",
        action="append",
        metavar="WHAT",
        help="NAME:SEVERITY@STARTs-ENDs, repeatable, or `none` (default: fog, then lost beams)",
    )
    add("--seed", type=int, default=DEFAULT_SEED, metavar="S", help="of the simulated drive")
    add(
        "--output",
        "--out",
        type=Path,
        default=Path("demo_output"),
        metavar="DIR",
        help="folder of the results (default: demo_output)",
    )


def settings_from_arguments(arguments: argparse.Namespace) -> DemoSettings:
    """Returns the settings that parsed options stand for.

    Raises:
        ConfigError: A value out of range.
    """
    num_frames = arguments.frames
    if num_frames is None and arguments.quick:
        num_frames = QUICK_NUM_FRAMES
    corruptions = None
    if arguments.corrupt is not None:
        texts = [text for text in arguments.corrupt if text != "none"]
        corruptions = tuple(parse_corruption_window(text) for text in texts)
    return DemoSettings(
        output=arguments.output,
        kitti=arguments.kitti,
        num_frames=num_frames,
        bundle=arguments.bundle,
        corruptions=corruptions,
        seed=arguments.seed,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo that the command line asks for; 2 after an expected error."""
    parser = argparse.ArgumentParser(
        prog="eloss demo",
        description="Play a drive through ROS 2, detect in every scan, record and show all of it.",
        epilog="example: eloss demo --quick --corrupt crosstalk:5@1s-3s",
    )
    add_arguments(parser)
    try:
        return run_demo(settings_from_arguments(parser.parse_args(argv)))
    except ElossError as error:
        sys.stderr.write(f"eloss demo: {error}\n")
        return EXIT_ERROR


if __name__ == "__main__":
    raise SystemExit(main())
