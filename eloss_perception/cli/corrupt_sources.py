# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading what `eloss corrupt` corrupts, and writing the same kind of thing again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from eloss_perception.cli.scans import find_scans, read_scan
from eloss_perception.cli.terminal import progress_bar, track
from eloss_perception.datasets.bags import CLOUD_TYPE
from eloss_perception.datasets.kitti import (
    Calibration,
    KittiDataset,
    KittiObject,
    write_image_set,
    write_kitti_frame,
)
from eloss_perception.datasets.scan_files import CLOUD_SUFFIXES
from eloss_perception.detection.sensors import SENSORS, find_sensor
from eloss_perception.errors import DataError
from eloss_perception.files import write_file
from eloss_perception.simulation.corruptions import PointArray
from eloss_perception.simulation.schedule import (
    CorruptionWindow,
    corrupt_on_schedule,
    is_stuck,
)

# Where a type cannot be parsed there is no hash of it either.
_NO_HASH = "RIHS01_" + "0" * 64


class SourceScan(NamedTuple):
    """A scan that can be read, and its labels where it is a frame of a KITTI split."""

    name: str
    read: Callable[[], PointArray]
    read_labels: Callable[[], tuple[list[KittiObject], Calibration]] | None


def find_source_scans(source: Path, split: str, sensor_name: str) -> list[SourceScan]:
    """Returns the scans of a file, a folder or a split; they are read in the network frame.

    Raises:
        ConfigError: Unknown sensor.
        DataError: There is no scan.
    """
    sensor = find_sensor(sensor_name)
    if not (source / "training").is_dir():
        return [
            SourceScan(file.name, partial(read_scan, file.path, sensor), None)
            for file in find_scans([source], split)
        ]
    dataset = KittiDataset(source, split)
    return [
        SourceScan(name, partial(dataset.points, name), partial(_read_labels, dataset, name))
        for name in dataset.ids
    ]


def _read_labels(dataset: KittiDataset, name: str) -> tuple[list[KittiObject], Calibration]:
    return dataset.objects(name), dataset.calibration(name)


def write_scans(
    scans: Sequence[SourceScan],
    out: Path,
    windows: Sequence[CorruptionWindow],
    *,
    split: str,
    is_file: bool,
    seed: int,
) -> None:
    """Corrupt scans as those of one drive, and write what the source was.

    Args:
        scans: In their order in time.
        out: The file, the folder or the KITTI root to write.
        windows: What to do to each scan.
        split: Name of the list in the root's `ImageSets/`.
        is_file: Whether `out` is a file.
        seed: The same seed, the same result.

    Raises:
        DataError: A file cannot be read or written.
    """
    if is_file and out.suffix.lower() in CLOUD_SUFFIXES.values():
        raise DataError(f"{out}: scans are written as .bin files only")
    previous: PointArray | None = None
    for index, scan in enumerate(track(scans, len(scans), "scans")):
        points = scan.read()
        corrupted = corrupt_on_schedule(points, windows, 0.0, index, seed, previous)
        if previous is None or not is_stuck(windows, 0.0):
            previous = points
        if scan.read_labels is not None:
            write_kitti_frame(out, scan.name, corrupted, *scan.read_labels())
        else:
            path = out if is_file else out / f"{scan.name}.bin"
            write_file(path, corrupted.astype("<f4").tobytes())
    if any(scan.read_labels is not None for scan in scans):
        write_image_set(out, split, [scan.name for scan in scans])


def write_bag(
    source: Path,
    out: Path,
    windows: Sequence[CorruptionWindow],
    seed: int,
    *,
    sensor_name: str | None,
    overwrite: bool,
) -> tuple[int, list[str]]:
    """Copy a bag; its point clouds become what the player would publish with these windows.

    Args:
        sensor_name: What recorded the clouds; None to go by their intensity.

    Returns:
        The number of point clouds, and what is to be said of the source and of its reading.

    Raises:
        ConfigError: Unknown sensor.
        DataError: No point cloud in the bag, or it cannot be read or written.
    """
    from eloss_perception.datasets.bags.reader import BagReader
    from eloss_perception.datasets.bags.writer import STREAM_QOS, BagWriter
    from eloss_perception.replay.playback import Playback

    with BagReader(source) as bag:
        topics = bag.topics.values()
        num_clouds = sum(t.num_messages for t in topics if t.message_type == CLOUD_TYPE)
        if num_clouds == 0:
            raise DataError(f"{source} holds no point cloud ({CLOUD_TYPE})")
        sensor = None if sensor_name is None else find_sensor(sensor_name)
        playback = Playback(bag, corruptions=windows, sensor=sensor, seed=seed)
        with (
            BagWriter(out, overwrite=overwrite, typestore=bag.typestore) as writer,
            progress_bar(bag.num_messages, "messages") as advance,
        ):
            for topic in topics:
                # What nobody here understands is copied as it is.
                is_known = topic.message_type in bag.typestore.fielddefs
                definition = None if is_known else (bag.definition(topic.name), _NO_HASH)
                qos = topic.qos or STREAM_QOS
                writer.add_topic(topic.name, topic.message_type, qos, definition=definition)
            for number, message in enumerate(playback, 1):
                writer.write_serialized(message.topic, message.bag_ns, message.data)
                advance(number)
        notes = [*bag.losses, *bag.warnings]
        name = next((key for key, value in SENSORS.items() if value == playback.sensor), None)
        if sensor_name is None and name not in (None, "kitti_hdl64"):
            notes.append(f"the clouds were taken for those of {name}; --sensor says otherwise")
    return num_clouds, notes
