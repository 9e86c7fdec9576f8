# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What `eloss calibrate` reads and says: clean scans of a KITTI root or a bag, the reference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from eloss_perception.calibration.calibrate import MIN_FRAMES
from eloss_perception.cli.terminal import say, say_table, warn
from eloss_perception.datasets.bags import CLOUD_TYPE
from eloss_perception.datasets.kitti import KittiDataset
from eloss_perception.detection.points import intensity_fault
from eloss_perception.detection.sensors import NETWORK_SENSOR_HEIGHT, SensorModel, find_sensor
from eloss_perception.errors import CloudError, DataError
from eloss_perception.health.readings import check_of
from eloss_perception.health.reference import HealthReference
from eloss_perception.interrupts import check_interrupt

if TYPE_CHECKING:
    from eloss_perception.datasets.bags.reader import BagReader

# The bands that a report's layer_mean and layer_std span in the views.
_BAND_STD = 2.0
# Ground further than this from where the network expects it [m]: the boxes' heights suffer.
_MAX_HEIGHT_ERROR = 0.25

PointArray = npt.NDArray[np.float32]


def mounted_sensor(
    name: str,
    mounting_height: float | None,
    mounting_yaw_deg: float | None,
    intensity_field: str | None = None,
    intensity_scale: float | None = None,
) -> SensorModel:
    """A sensor of the table as it is mounted; what is None is the table's.

    Args:
        name: A key of `SENSORS`.
        mounting_height: Origin of the points' frame above the ground [m], 0 included.
        mounting_yaw_deg: Forward axis, counter-clockwise from where the table has it [deg].
        intensity_field: Name of the field, `none` where there is none; `auto` as None.
        intensity_scale: Raw intensity that counts as 1.

    Raises:
        ConfigError: Unknown sensor, or a mounting that is no finite number.
    """
    return find_sensor(
        name,
        mounting_height=mounting_height,
        forward_yaw=find_sensor(name).forward_yaw + math.radians(mounting_yaw_deg or 0.0),
        intensity_field=None if intensity_field == "auto" else intensity_field,
        intensity_scale=intensity_scale,
    )


class CleanScans(NamedTuple):
    """Scans in the network frame, and what is known of them.

    Attributes:
        scans: (N, 4) float32 each, read when asked for.
        labels: What each is called in messages: a frame's name, or a time in the recording.
        description: All of them in words.
        frames_apart_s: Time between them [s].
        rate_hz: Scans a second of the sensor.
    """

    scans: Iterable[PointArray]
    labels: Sequence[str]
    description: str
    frames_apart_s: float
    rate_hz: float


def kitti_scans(root: Path, splits: Sequence[str], frames_apart_s: float) -> CleanScans:
    """Returns the scans of some splits of a KITTI root.

    Raises:
        DataError: There is no such root or split.
    """
    datasets = [KittiDataset(root, split) for split in splits]
    labels = [frame_id for dataset in datasets for frame_id in dataset.ids]

    def scans() -> Iterator[PointArray]:
        for dataset in datasets:
            for frame_id in dataset.ids:
                yield dataset.points(frame_id)

    description = f"{len(labels)} scans of {', '.join(splits)} in KITTI's layout"
    return CleanScans(scans(), labels, description, frames_apart_s, 10.0)


def bag_clouds(
    path: Path,
    topic: str | None,
    sensor: SensorModel,
    period_s: tuple[float, float | None],
    num_clouds: int,
) -> CleanScans:
    """Returns point clouds of a bag, spread evenly over the recording.

    Args:
        path: The bag.
        topic: Topic of the clouds; None for the only one.
        sensor: What recorded them.
        period_s: From when to when in the recording [s]; to its end where that is None.
        num_clouds: At most so many.

    Raises:
        DataError: No bag, no such topic, several topics to choose from, or too few clouds.
    """
    from eloss_perception.datasets.bags.reader import BagReader

    with BagReader(path) as bag:
        for text in (*bag.losses, *bag.warnings):
            warn(text)
        found = _cloud_topic(bag, topic)
        stamps_ns = np.array([m.stamp_ns for m in bag.messages([found])], np.int64)
    if len(stamps_ns) == 0:
        raise DataError(f"{path}: no cloud was recorded on {found}")
    times_s = (stamps_ns - stamps_ns[0]) / 1e9
    end_s = math.inf if period_s[1] is None else period_s[1]
    inside = np.flatnonzero((times_s >= period_s[0]) & (times_s <= end_s))
    if len(inside) < MIN_FRAMES:
        raise DataError(
            f"{path}: {len(inside)} clouds of {found} between {period_s[0]:g} s and "
            f"{min(end_s, times_s[-1]):.1f} s are too few to calibrate on; {MIN_FRAMES} are needed"
        )
    places = np.linspace(0, len(inside) - 1, min(max(num_clouds, MIN_FRAMES), len(inside)))
    chosen = inside[np.round(places).astype(np.int64)]
    length_s = float(times_s[chosen[-1]] - times_s[chosen[0]])
    interval_s = float(np.median(np.diff(times_s[inside])))
    if length_s <= 0.0 or interval_s <= 0.0:
        raise DataError(f"{path}: the clouds of {found} were all recorded at the same time")
    return CleanScans(
        _read_clouds(path, found, chosen, times_s, sensor),
        [f"{times_s[i]:.1f} s" for i in chosen],
        f"{len(chosen)} clouds of {found} over {length_s:.0f} s of the bag {path.name}",
        length_s / (len(chosen) - 1),
        round(1.0 / interval_s, 1),
    )


def _cloud_topic(bag: BagReader, wanted: str | None) -> str:
    clouds = [t.name for t in bag.topics.values() if t.message_type == CLOUD_TYPE]
    if not clouds:
        others = ", ".join(sorted(bag.topics)) or "none"
        raise DataError(f"{bag.path} holds no point cloud ({CLOUD_TYPE}); its topics: {others}")
    names = ", ".join(sorted(clouds))
    if wanted is not None and wanted not in clouds:
        raise DataError(f"{bag.path} holds no point clouds on {wanted}; it holds {names}")
    if wanted is None and len(clouds) > 1:
        raise DataError(f"{bag.path} holds several point clouds: choose one with --topic: {names}")
    return wanted or clouds[0]


def _read_clouds(
    path: Path,
    topic: str,
    chosen: npt.NDArray[np.int64],
    times_s: npt.NDArray[np.float64],
    sensor: SensorModel,
) -> Iterator[PointArray]:
    from eloss_perception.datasets.bags.reader import BagReader
    from eloss_perception.ros.convert import points_from_msg

    wanted = set(chosen.tolist())
    with BagReader(path) as bag:
        for index, message in enumerate(bag.messages([topic])):
            check_interrupt()
            if index not in wanted:
                continue
            place = f"{path}: the cloud of {topic} at {times_s[index]:.1f} s"
            try:
                points = points_from_msg(bag.deserialize(message), sensor)
            except CloudError as error:
                raise DataError(f"{place} cannot be read: {error}") from None
            if fault := intensity_fault(points, sensor):
                raise DataError(f"{place}: {fault}")
            yield points


def say_reference(reference: HealthReference, before: HealthReference | None) -> None:
    """Writes frames, normal bands and limits of a reference.

    Args:
        reference: The reference.
        before: What was recalibrated, to tell how much it changed; None for a new one.
    """
    profiles = reference.profiles
    say(
        f"{reference.num_frames} clean frames, {len(profiles.names)} profiles of "
        f"{len(set(profiles.names))} known disturbances, normal eloss {reference.eloss_normal:.3e}"
    )
    change = [] if before is None else ["change [std]"]
    rows = []
    for index, name in enumerate(reference.layer_names):
        mean, reach = reference.layer_mean[index], _BAND_STD * reference.layer_std[index]
        row = [name, f"{mean - reach:.3f}", f"{mean + reach:.3f}"]
        if before is not None:
            row.append(f"{(mean - before.layer_mean[index]) / before.layer_std[index]:+.1f}")
        rows.append(row)
    say()
    say_table(["layer", "normal entropy", "to", *change], rows)
    rows = []
    # A check's limit is the deviation that one in a hundred clean frames exceeds.
    for check, limit in zip(reference.checks, reference.check_limits, strict=True):
        members = np.array([check_of(name) == check for name in reference.reading_names])
        row = [check, str(members.sum()), f"{np.sinh(limit):.2f}"]
        if before is not None:
            changes = (reference.mean - before.mean)[members] / before.std[members]
            row.append(f"{np.sqrt((changes**2).mean()):.1f}")
        rows.append(row)
    say()
    say_table(["check", "readings", "limit [std]", *change], rows)
    height = float(reference.mean[reference.reading_names.index("ground.height")])
    if height == 0.0:  # see health/ground.py
        say("\nnote: no ground was found below the sensor; check its mounting")
    elif abs(height + NETWORK_SENSOR_HEIGHT) > _MAX_HEIGHT_ERROR:
        say(
            f"\nnote: the ground lies at z = {height:.2f} m, where the network expects "
            f"{-NETWORK_SENSOR_HEIGHT:.2f} m; check the mounting height"
        )
