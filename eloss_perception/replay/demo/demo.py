# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss demo`: a drive played through DDS, the detector answering, everything recorded and drawn.

Read `run_demo` first. Player, detector and recorder are processes of their own, as on a vehicle;
this one only starts them, waits, stops them, and reads what was recorded. Nothing slow is imported
at the top: `eloss --help` needs this module.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from eloss_perception.errors import ConfigError, DataError
from eloss_perception.files import write_file
from eloss_perception.interrupts import StopSignal

if TYPE_CHECKING:
    from eloss_perception.datasets.kitti.dataset import KittiSequence
    from eloss_perception.replay.drives import Progress
    from eloss_perception.simulation.schedule import CorruptionWindow

EXIT_LOST_FRAMES = 1

RATE_HZ = 10.0
DEFAULT_NUM_FRAMES = 150
QUICK_NUM_FRAMES = 40
DEFAULT_SEED = 1
DEFAULT_OUTPUT = Path("demo_output")


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What the demo plays and shows.

    Attributes:
        output: Folder of the results, made if needed.
        kitti: Folder with a KITTI tracking sequence; None for a simulated drive.
        num_frames: Scans to play; None for 150 simulated ones, or the whole sequence.
        bundle: Model bundle; None for the one that is shipped.
        backend: What runs the network; None for the node's default.
        corruptions: How the scans are corrupted; None for rain, fog and then lost beams in a
            simulated drive, and nothing in a real one.
        seed: Of the simulated drive.
    """

    output: Path = DEFAULT_OUTPUT
    kitti: Path | None = None
    num_frames: int | None = None
    bundle: Path | None = None
    backend: str | None = None
    corruptions: tuple[CorruptionWindow, ...] | None = None
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        if self.num_frames is not None and self.num_frames < 1:
            raise ConfigError(f"num_frames is {self.num_frames}; at least 1 is needed")


def default_corruptions(num_frames: int) -> tuple[CorruptionWindow, ...]:
    """Returns rain (which costs no AP), fog and lost beams, between a clean start and end."""
    from eloss_perception.simulation.schedule import CorruptionWindow

    duration_s = num_frames / RATE_HZ
    shares = (0.24, 0.4, 0.6, 0.8)
    rain_s, fog_s, beams_s, end_s = (round(share * duration_s, 1) for share in shares)
    if not 0.0 < rain_s < fog_s < beams_s < end_s:
        return ()
    return (
        CorruptionWindow("rain", 3, rain_s, fog_s),
        CorruptionWindow("fog", 5, fog_s, beams_s),
        CorruptionWindow("beam_missing", 5, beams_s, end_s),
    )


class Terminal(Protocol):
    """Where the demo says how it goes: the module `eloss_perception.cli.terminal`."""

    def say(self, text: str = "") -> None:
        """Writes a line."""

    def progress_bar(self, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """Shows how many are done."""

    def status_line(self) -> AbstractContextManager[Callable[[str], None]]:
        """Shows a line that changes."""


def run_demo(settings: DemoSettings, terminal: Terminal) -> int:
    """Runs the demo from start to pictures.

    Returns:
        0; 1 if a scan was neither answered nor counted as dropped. No process is left behind,
        whatever happens.

    Raises:
        ElossError: The bundle or the data is unusable, or a process failed.
        KeyboardInterrupt: After SIGINT or SIGTERM.
    """
    with StopSignal() as stop:
        return _run(settings, terminal, stop)


def _run(settings: DemoSettings, terminal: Terminal, stop: StopSignal) -> int:
    # What takes a while to load comes only now, so that a signal is heeded from the start.
    from eloss_perception.runtime.bundle import Bundle, default_bundle_path

    bundle = (settings.bundle or default_bundle_path()).absolute()
    Bundle.load(bundle).require_health()
    output = settings.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    _remove_earlier_results(output)

    bag, num_frames, title, sequence = _prepare_input(settings, output, terminal)
    corruptions = settings.corruptions
    if corruptions is None:
        corruptions = () if settings.kitti else default_corruptions(num_frames)

    from eloss_perception.replay.demo.play import play_and_record, shown

    with terminal.status_line() as show:
        num_sent = play_and_record(
            bag, bundle, settings.backend, corruptions, output, terminal.say, show, stop
        )
    stop.raise_if_set()

    from eloss_perception.replay.demo.pictures import DemoPictures, draw_camera
    from eloss_perception.replay.demo.record import read_record
    from eloss_perception.replay.demo.summary import summary_lines

    record = read_record(output / "recording", num_sent, 1.0 / RATE_HZ, corruptions)
    pictures = DemoPictures(record, corruptions, RATE_HZ, title, output)
    with terminal.progress_bar(len(record.frames), "scans drawn") as advance:
        cars, written = pictures.draw(advance)
    if sequence is not None:
        written += draw_camera(record, sequence, output)
    lines = summary_lines(record, cars)
    write_file(output / "summary.txt", "\n".join(lines) + "\n")
    terminal.say("\n" + "\n".join(lines) + "\n")
    terminal.say(f"Pictures  {shown(output)}/: {', '.join(path.name for path in written)}")
    terminal.say(
        f"Recording {shown(output / 'recording')}: open it in Foxglove, or play it with"
        " `eloss replay` or `ros2 bag play` beside `rviz2 -d config/eloss.rviz`"
    )
    return EXIT_LOST_FRAMES if record.num_lost > 0 or record.num_answered == 0 else 0


def _prepare_input(
    settings: DemoSettings, output: Path, terminal: Terminal
) -> tuple[Path, int, str, KittiSequence | None]:
    """Returns the bag to play, its number of scans, what it shows, and the KITTI data if any."""
    start = time.monotonic()
    made = 0
    sequence = None if settings.kitti is None else find_sequence(settings.kitti)
    available = DEFAULT_NUM_FRAMES if sequence is None else len(sequence)
    num_frames = settings.num_frames or available
    if sequence is not None:
        num_frames = min(num_frames, available)
    with terminal.progress_bar(num_frames, "scans of the drive") as advance:

        def progress(done: int, total: int) -> None:
            nonlocal made
            made = done
            advance(done)

        if sequence is not None:
            bag = kitti_bag(output / "input", sequence, settings.num_frames, progress)
            title = f"KITTI sequence {sequence.sequence}"
        else:
            bag = drive_bag(output / "input", settings.seed, num_frames, progress)
            title = "Simulated drive"
    how = f"made in {time.monotonic() - start:.1f} s" if made else "kept from an earlier run"
    terminal.say(f"drive     {title}, {num_frames} scans at {RATE_HZ:g} Hz ({how})")
    return bag, num_frames, title, sequence


def _remove_earlier_results(output: Path) -> None:
    patterns = ("birds_eye_*.png", "entropy_profile_*.png", "health_timeline.png", "camera.png")
    for pattern in (*patterns, "drive.gif", "summary.txt"):
        for path in output.glob(pattern):
            path.unlink()


def drive_bag(folder: Path, seed: int, num_frames: int, progress: Progress) -> Path:
    """Returns the bag of a simulated drive, made now unless this version made it before.

    Args:
        folder: Holds this one bag and nothing else; an older one is removed.
        seed: Of the drive.
        num_frames: Scans at 10 Hz.
        progress: Told of every frame that is made.
    """
    from eloss_perception.simulation import SIMULATOR_VERSION

    name = f"drive_seed{seed}_{num_frames}_{SIMULATOR_VERSION}"

    def make(path: Path) -> None:
        from eloss_perception.replay.drives import write_drive_bag
        from eloss_perception.simulation.drive import simulate_drive

        drive = simulate_drive(seed, num_frames)
        write_drive_bag(drive, path, num_frames=num_frames, progress=progress)

    return _kept(folder, name, make)


def kitti_bag(
    folder: Path, sequence: KittiSequence, max_frames: int | None, progress: Progress
) -> Path:
    """Returns the bag of a KITTI tracking sequence, made now unless its files are unchanged."""
    pattern = f"training/*/{sequence.sequence}"
    paths = sorted([*sequence.root.glob(f"{pattern}*"), *sequence.root.glob(f"{pattern}/*")])
    states = [(path, path.stat()) for path in paths]
    text = "".join(f"{path} {state.st_size} {state.st_mtime_ns}\n" for path, state in states)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    frames = max_frames if max_frames is not None else "all"
    name = f"kitti_{sequence.sequence}_{frames}_{digest}"

    def make(path: Path) -> None:
        from eloss_perception.replay.drives import write_kitti_bag

        write_kitti_bag(sequence, path, max_frames=max_frames, progress=progress)

    return _kept(folder, name, make)


def find_sequence(root: Path) -> KittiSequence:
    """Returns the first tracking sequence below a folder.

    Args:
        root: Holds `training/velodyne/0001/`, or a folder `tracking` that does.

    Raises:
        DataError: There is none.
    """
    from eloss_perception.datasets.kitti.dataset import KittiSequence

    for candidate in (root, root / "tracking"):
        sequences = sorted(
            path.name
            for path in (candidate / "training" / "velodyne").glob("[0-9]" * 4)
            if path.is_dir()
        )
        if sequences:
            return KittiSequence(candidate, sequences[0])
    raise DataError(
        f"{root} holds no tracking sequence; expected scans in {root}/training/velodyne/0001/"
    )


def _kept(folder: Path, name: str, make: Callable[[Path], None]) -> Path:
    path = folder / name
    if path.is_dir():
        return path
    make(path)
    # A drive takes 300 MB: the one before is not kept beside it.
    for other in folder.iterdir():
        if other != path and (other / "metadata.yaml").is_file():
            shutil.rmtree(other)
    return path
