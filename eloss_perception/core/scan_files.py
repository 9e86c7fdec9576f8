# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reading one raw scan file: float32 records of x, y, z, intensity and whatever else follows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eloss_perception.core.point_fields import finish_points
from eloss_perception.core.sensors import SensorModel, to_network_frame
from eloss_perception.errors import DataError


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
    record_size = 4 * sensor.num_file_columns
    if len(data) % record_size:
        raise DataError(
            f"{path}: {len(data)} bytes are not whole points of {sensor.num_file_columns} float32"
            " values; choose the sensor that wrote the file"
        )
    records = np.frombuffer(data, dtype="<f4").reshape(-1, sensor.num_file_columns)
    points = records[:, :4].astype(np.float32)  # (N, 4)
    finish_points(points, np.float32(sensor.intensity_scale))
    return to_network_frame(points, sensor)
