# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss demo`: a drive played through DDS, the detector answering, everything recorded and shown.

Read `run_demo` first. Player, detector and recorder are processes of their own, as on a vehicle;
this one only starts them, waits, stops them, and reads what was recorded.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from eloss_perception.files import write_file
from eloss_perception.interrupts import StopSignal
from eloss_perception.replay.demo.console import Console, shown
from eloss_perception.replay.demo.settings import (
    DEFAULT_NUM_FRAMES,
    RATE_HZ,
    DemoSettings,
    default_corruptions,
)

if TYPE_CHECKING:
    from eloss_perception.datasets.kitti.dataset import KittiSequence

EXIT_LOST_FRAMES = 1


def run_demo(settings: DemoSettings, console: Console | None = None) -> int:
    """Runs the demo from start to pictures.

    Returns:
        0; 1 if a scan was neither answered nor counted as dropped. No process is left behind,
        whatever happens.

    Raises:
        ElossError: The bundle or the data is unusable, or a process failed.
        KeyboardInterrupt: After SIGINT or SIGTERM.
    """
    console = console or Console()
    with StopSignal() as stop:
        try:
            return _run(settings, console, stop)
        finally:
            console.clear()


def _run(settings: DemoSettings, console: Console, stop: StopSignal) -> int:
    # What takes a while to load comes only now, so that a signal is heeded from the start.
    from eloss_perception.runtime.bundle import Bundle, default_bundle_path

    bundle = (settings.bundle or default_bundle_path()).absolute()
    Bundle.load(bundle).require_health()
    output = settings.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    _remove_earlier_results(output)

    bag, num_frames, title, sequence = _prepare_input(settings, output, console, stop)
    corruptions = settings.corruptions
    if corruptions is None:
        corruptions = () if settings.kitti else default_corruptions(num_frames)

    from eloss_perception.replay.demo.play import play_and_record

    num_sent = play_and_record(bag, bundle, settings.backend, corruptions, output, console, stop)
    stop.raise_if_set()

    from eloss_perception.replay.demo.pictures import DemoPictures, draw_camera
    from eloss_perception.replay.demo.record import read_record
    from eloss_perception.replay.demo.summary import summary_lines

    def progress(done: int) -> None:
        stop.raise_if_set()
        console.progress("pictures ", done, len(record.frames))

    record = read_record(output / "recording", num_sent, 1.0 / RATE_HZ, corruptions)
    pictures = DemoPictures(record, corruptions, RATE_HZ, title, output)
    cars, written = pictures.draw(progress)
    if sequence is not None:
        written += draw_camera(record, sequence, output)
    lines = summary_lines(record, cars)
    write_file(output / "summary.txt", "\n".join(lines) + "\n")
    console.line()
    for line in lines:
        console.line(line)
    console.line()
    console.line(f"Pictures  {shown(output)}/: {', '.join(path.name for path in written)}")
    console.line(
        f"Recording {shown(output / 'recording')}: open it in Foxglove, or play it with"
        " `eloss replay` or `ros2 bag play` beside `rviz2 -d config/eloss.rviz`"
    )
    return EXIT_LOST_FRAMES if record.num_lost > 0 or record.num_answered == 0 else 0


def _prepare_input(
    settings: DemoSettings, output: Path, console: Console, stop: StopSignal
) -> tuple[Path, int, str, KittiSequence | None]:
    """Returns the bag to play, its number of scans, what it shows, and the KITTI data if any."""
    from eloss_perception.replay.demo.drive import drive_bag, find_sequence, kitti_bag

    start = time.monotonic()
    made = 0

    def progress(done: int, total: int) -> None:
        nonlocal made
        stop.raise_if_set()
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


def _remove_earlier_results(output: Path) -> None:
    patterns = ("birds_eye_*.png", "entropy_profile_*.png", "health_timeline.png", "camera.png")
    for pattern in (*patterns, "drive.gif", "summary.txt"):
        for path in output.glob(pattern):
            path.unlink()
