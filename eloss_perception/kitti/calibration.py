# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI calibration: from the LiDAR frame to the rectified camera frame and into the left image.

The rectified camera frame has x right, y down and z forward (Geiger et al., "Vision meets
robotics", IJRR 2013, section III). Nothing outside this subpackage needs to know it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eloss_perception.errors import DataError

# Width and height [px] of the rectified images of drive day 2011_09_26, most of the object set.
DEFAULT_IMAGE_SIZE = (1242, 375)

# Rectified image size by focal length [px]: one camera setting a day of the KITTI recordings.
_IMAGE_SIZE_BY_FOCAL_LENGTH = (
    (721.5377, (1242, 375)),
    (707.0493, (1224, 370)),
    (718.3351, (1238, 374)),
    (707.0912, (1226, 370)),
    (718.8560, (1241, 376)),
)

# The object set and the tracking set name the same matrices differently.
_KEYS = {
    "p2": (("P2",), (3, 4)),
    "r0_rect": (("R0_rect", "R_rect"), (3, 3)),
    "tr_velo_to_cam": (("Tr_velo_to_cam", "Tr_velo_cam"), (3, 4)),
}


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The three matrices that place a LiDAR point in the left colour image.

    Attributes:
        p2: (3, 4) float64 projection of the rectified camera frame into the image [px].
        r0_rect: (3, 3) float64 rotation of the camera frame into the rectified one.
        tr_velo_to_cam: (3, 4) float64 rigid transform of the LiDAR frame into the camera frame [m].

    Raises:
        DataError: If a matrix has another shape or is not finite, or the transform has no inverse.
    """

    p2: NDArray[np.float64]
    r0_rect: NDArray[np.float64]
    tr_velo_to_cam: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name, (_, shape) in _KEYS.items():
            matrix = np.array(getattr(self, name), dtype=np.float64)
            if matrix.shape != shape or not np.isfinite(matrix).all():
                raise DataError(f"calibration: {name} must be {shape} finite numbers")
            object.__setattr__(self, name, matrix)
        if abs(np.linalg.det(self.lidar_to_camera_matrix)) < 1e-6:
            raise DataError("calibration: the LiDAR-to-camera transform cannot be inverted")

    @classmethod
    def from_file(cls, path: str | Path) -> Calibration:
        """Read a calibration file of the object set or of the tracking set.

        Raises:
            DataError: If the file is missing, or a matrix is missing or malformed.
        """
        path = Path(path)
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot read the calibration: {error}") from error
        rows: dict[str, tuple[int, list[str]]] = {}
        for number, line in enumerate(lines, start=1):
            if tokens := line.split():
                rows[tokens[0].rstrip(":")] = (number, tokens[1:])
        matrices = {}
        for name, (keys, shape) in _KEYS.items():
            found = [rows[key] for key in keys if key in rows]
            if not found:
                raise DataError(f"{path}: no line {' or '.join(keys)}")
            number, tokens = found[0]
            try:
                matrices[name] = np.array([float(token) for token in tokens]).reshape(shape)
            except ValueError:
                expected = shape[0] * shape[1]
                raise DataError(
                    f"{path}:{number}: {keys[0]} must be {expected} numbers, "
                    f"has {len(tokens)} values"
                ) from None
        try:
            return cls(**matrices)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    @classmethod
    def synthetic(cls) -> Calibration:
        """Return the calibration of the simulator's camera.

        A level pinhole camera looking along +x, 0.27 m ahead of and 0.08 m below the LiDAR, whose
        1242 x 375 px image spans 81.5 degrees: round numbers near those of a KITTI recording.
        """
        return cls(
            p2=np.array([[720.0, 0.0, 621.0, 0.0], [0.0, 720.0, 175.0, 0.0], [0.0, 0.0, 1.0, 0.0]]),
            r0_rect=np.eye(3),
            tr_velo_to_cam=np.array(
                [[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, -0.08], [1.0, 0.0, 0.0, -0.27]]
            ),
        )

    def to_text(self) -> str:
        """Return the calibration as a file of the object set, which `from_file` reads back."""
        identity = np.eye(3, 4)
        matrices = {
            "P0": self.p2,
            "P1": self.p2,
            "P2": self.p2,
            "P3": self.p2,
            "R0_rect": self.r0_rect,
            "Tr_velo_to_cam": self.tr_velo_to_cam,
            "Tr_imu_to_velo": identity,
        }
        lines = [
            f"{key}: " + " ".join(f"{value:.12e}" for value in matrix.ravel())
            for key, matrix in matrices.items()
        ]
        return "\n".join(lines) + "\n"

    @property
    def lidar_to_camera_matrix(self) -> NDArray[np.float64]:
        """(4, 4) float64 rigid transform of the LiDAR frame into the rectified camera frame."""
        transform = np.eye(4)
        transform[:3] = self.r0_rect @ self.tr_velo_to_cam
        return transform

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height [px] of the image, from the focal length.

        Each KITTI day has its own focal length; another camera gets that of `DEFAULT_IMAGE_SIZE`.
        """
        focal_length = float(self.p2[0, 0])
        for known, size in _IMAGE_SIZE_BY_FOCAL_LENGTH:
            if math.isclose(focal_length, known, abs_tol=0.01):
                return size
        return DEFAULT_IMAGE_SIZE

    def lidar_to_camera(self, points: ArrayLike) -> NDArray[np.float64]:
        """Move (N, 3 or more) LiDAR points [m] to (N, 3) float64 in the rectified camera frame."""
        return _transform(points, self.lidar_to_camera_matrix)

    def camera_to_lidar(self, points: ArrayLike) -> NDArray[np.float64]:
        """Move (N, 3) rectified camera points [m] to (N, 3) float64 in the LiDAR frame."""
        inverse = np.linalg.inv(self.lidar_to_camera_matrix).astype(np.float64)
        return _transform(points, inverse)

    def camera_to_image(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Project points of the rectified camera frame; see `lidar_to_image`."""
        camera = np.asarray(points, dtype=np.float64)
        projected = camera @ self.p2[:, :3].T + self.p2[:, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            uv = projected[:, :2] / projected[:, 2:]
        return uv, camera[:, 2].copy()

    def lidar_to_image(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Project LiDAR points into the left colour image.

        Args:
            points: (N, 3 or more) x, y, z [m], LiDAR frame.

        Returns:
            (N, 2) float64 u, v [px] and (N,) float64 depth [m], the camera frame's z. A pixel means
            something only where the depth is positive.
        """
        return self.camera_to_image(self.lidar_to_camera(points))


def camera_view_mask(
    points: ArrayLike, calibration: Calibration, image_size: tuple[int, int] | None = None
) -> NDArray[np.bool_]:
    """Return which points the camera sees: 0 < u < width, 0 < v < height and depth > 0.

    KITTI labels exist in this part of a scan only; detectors are trained and evaluated on it.

    Args:
        points: (N, 3 or more) x, y, z [m], LiDAR frame; a non-finite point is not seen.
        calibration: The frame's calibration.
        image_size: Width and height [px]; without it the calibration's.

    Returns:
        (N,) bool.
    """
    width, height = calibration.image_size if image_size is None else image_size
    uv, depth = calibration.lidar_to_image(points)
    u, v = uv[:, 0], uv[:, 1]
    seen: NDArray[np.bool_] = (u > 0) & (u < width) & (v > 0) & (v < height) & (depth > 0)
    return seen


def _transform(points: ArrayLike, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply a (4, 4) rigid transform to the first three columns of (N, >= 3) points."""
    array = np.asarray(points)
    if array.ndim != 2 or array.shape[1] < 3:
        raise ValueError(f"points have the shape {array.shape}, must be (N, 3) or wider")
    xyz = array[:, :3].astype(np.float64)
    # A point beyond range is a value of the sensor (REP-117), not a fault of this arithmetic.
    with np.errstate(invalid="ignore"):
        moved: NDArray[np.float64] = xyz @ matrix[:3, :3].T + matrix[:3, 3]
    return moved
