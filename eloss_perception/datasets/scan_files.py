# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading one raw scan file: float32 records of x, y, z, intensity and whatever else follows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eloss_perception.detection.points import finish_points
from eloss_perception.detection.sensors import (
    NEUTRAL_INTENSITY,
    SENSORS,
    SensorModel,
    to_network_frame,
)
from eloss_perception.errors import DataError

CLOUD_SUFFIXES = {b"# .PCD": ".pcd", b"VERSION": ".pcd", b"ply": ".ply", b"\x93NUMPY": ".npy"}
"""How files start that describe their own points, and what they are called."""

SUFFIXES = (".bin", *dict.fromkeys(CLOUD_SUFFIXES.values()))
"""Of all scan files that can be read."""

# Points of a hundred bytes, as many as a cloud may have.
_MAX_BYTES = 400_000_000
# More points than this share outside what a sensor measures: the file is laid out otherwise.
_MAX_IMPLAUSIBLE_SHARE = 0.02
_MAX_COORDINATE = 1000.0


def read_scan_file(path: Path | str, sensor: SensorModel) -> NDArray[np.float32]:
    """Reads a `.bin` scan as KITTI, nuScenes and PandaSet exports write it.

    Args:
        path: Little-endian float32 records of `sensor.num_file_columns` values, the first four of
            which are x, y, z [m, sensor frame] and the raw intensity.
        sensor: The sensor that measured the scan.

    Returns:
        (N, 4) float32 x, y, z [m] in the network frame and intensity in [0, 1].

    Raises:
        DataError: If the file cannot be read, is empty or is not laid out like that.
    """
    path = Path(path)
    data = read_content(path)
    if path.suffix.lower() != ".bin":
        raise DataError(f"{path}: a scan is a .bin file of float32 values")
    record_size = 4 * sensor.num_file_columns
    if len(data) % record_size:
        raise DataError(
            f"{path}: {len(data)} bytes are not whole points of {sensor.num_file_columns} float32"
            " values; choose the sensor that wrote the file"
        )
    records = np.frombuffer(data, dtype="<f4").reshape(-1, sensor.num_file_columns)
    if fault := _fault(records, sensor):
        fitting = [
            name
            for name, other in SENSORS.items()
            if len(data) % (4 * other.num_file_columns) == 0
            and not _fault(np.frombuffer(data, "<f4").reshape(-1, other.num_file_columns), other)
        ]
        advice = f"fits --sensor {' or '.join(fitting)}" if fitting else "fits no known sensor"
        if fault.startswith("intensities reach"):
            advice += "; if the sensor is right, give its --intensity-scale"
        raise DataError(f"{path}: {fault}; the file {advice}")
    points = records[:, :4].astype(np.float32)  # (N, 4)
    finish_points(points, np.float32(sensor.intensity_scale))
    if not sensor.intensity_fields:
        points[:, 3] = NEUTRAL_INTENSITY
    return to_network_frame(points, sensor)


def read_content(path: Path) -> bytes:
    """Reads a scan file whose start is that of its suffix.

    Raises:
        DataError: If it cannot be read, is empty, is no scan or is one of another format.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: a scan is one of {', '.join(SUFFIXES)}")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: more than {_MAX_BYTES // 1_000_000} MB are no single scan")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read the scan: {error.strerror}") from error
    if not data:
        raise DataError(f"{path}: the file is empty, as a copy that failed is")
    found = next((name for start, name in CLOUD_SUFFIXES.items() if data.startswith(start)), ".bin")
    if found != suffix and (found, suffix) != (".bin", ".pcd"):  # a PCD may begin otherwise
        what = "begins as none" if found == ".bin" else f"is a {found} file"
        raise DataError(f"{path}: the file is called {suffix} but {what}")
    return data


def coordinate_fault(points: NDArray[np.float32]) -> str:
    """Why (N, 3) or wider points, those without a return as NaN, are no scan in metres."""
    xyz = points[np.isfinite(points[:, :3]).all(axis=1), :3]
    if len(xyz) and (np.abs(xyz) > _MAX_COORDINATE).any(axis=1).mean() > _MAX_IMPLAUSIBLE_SHARE:
        return "coordinates lie beyond a kilometre"
    return ""


def _period(values: NDArray[np.float32], num_columns: int) -> int:
    """How many values a record seems to have: neighbours in a scan resemble each other.

    In the scans of thirty sensors no other period came below 0.97 of the right one's distance,
    shuffled ones included; read with a wrong number of columns, all came above 1.9 of it.
    """
    with np.errstate(invalid="ignore"):  # other layouts' bytes may be signalling NaN
        sample = np.nan_to_num(values[:200_000].astype(np.float64), posinf=0.0, neginf=0.0)
    sample = np.sign(sample) * np.log1p(np.abs(sample))
    distances = {
        period: np.abs(sample[period:] - sample[:-period]).mean()
        for period in range(3, 9)
        if period == num_columns or period % num_columns
    }
    best = min(distances, key=lambda period: distances[period])
    return best if distances[best] < 0.7 * distances[num_columns] else num_columns


def _fault(records: NDArray[np.float32], sensor: SensorModel) -> str:
    """Why (N, C) raw records cannot be this sensor's; empty where they can."""
    finite = records[np.isfinite(records[:, :4]).all(axis=1), :4]
    if len(finite) == 0:
        return ""
    if (
        len(records) >= 200
        and (found := _period(records.ravel(), records.shape[1])) != (records.shape[1])
    ):
        return f"points seem to have {found} values, not {records.shape[1]}"
    if fault := coordinate_fault(finite):
        return fault
    if not sensor.intensity_fields:
        return ""
    if (finite[:, 3] < 0.0).mean() > _MAX_IMPLAUSIBLE_SHARE:
        return f"intensities are negative when read as {records.shape[1]} values a point"
    if (finite[:, 3] > sensor.intensity_scale).mean() > _MAX_IMPLAUSIBLE_SHARE:
        return f"intensities reach {finite[:, 3].max():g}, above {sensor.intensity_scale:g}"
    if sensor.intensity_scale >= 100.0 and 0.0 < finite[:, 3].max() <= 1.0:
        return f"intensities end at {finite[:, 3].max():g} of {sensor.intensity_scale:g}"
    return ""
