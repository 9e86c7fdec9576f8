# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading one raw scan file: float32 records of x, y, z, intensity and whatever else follows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eloss_perception.core.point_fields import finish_points
from eloss_perception.core.sensors import SENSORS, SensorModel, to_network_frame
from eloss_perception.errors import DataError

_OTHER_FORMATS = {
    b"# .PCD": "a PCD file",
    b"VERSION": "a PCD file",
    b"ply": "a PLY file",
    b"\x93NUMPY": "a NumPy file",
}
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
        DataError: If the file cannot be read or is not a whole number of records.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read the scan: {error.strerror}") from error
    for start, name in _OTHER_FORMATS.items():
        if data.startswith(start):
            raise DataError(f"{path}: this is {name}, not a .bin scan of float32 values")
    if path.suffix != ".bin":
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
        raise DataError(f"{path}: {fault}; the file {advice}")
    points = records[:, :4].astype(np.float32)  # (N, 4)
    finish_points(points, np.float32(sensor.intensity_scale))
    return to_network_frame(points, sensor)


def _fault(records: NDArray[np.float32], sensor: SensorModel) -> str:
    """Why (N, C) raw records cannot be this sensor's; empty where they can."""
    finite = records[np.isfinite(records[:, :4]).all(axis=1), :4]
    if len(finite) == 0:
        return ""
    if (np.abs(finite[:, :3]) > _MAX_COORDINATE).any(axis=1).mean() > _MAX_IMPLAUSIBLE_SHARE:
        return "coordinates lie beyond a kilometre"
    if (finite[:, 3] < 0.0).mean() > _MAX_IMPLAUSIBLE_SHARE:
        return f"intensities are negative when read as {records.shape[1]} values a point"
    if (finite[:, 3] > sensor.intensity_scale).mean() > _MAX_IMPLAUSIBLE_SHARE:
        return f"intensities reach {finite[:, 3].max():g}, above {sensor.intensity_scale:g}"
    if sensor.intensity_scale >= 100.0 and 0.0 < finite[:, 3].max() <= 1.0:
        return f"intensities end at {finite[:, 3].max():g} of {sensor.intensity_scale:g}"
    return ""
