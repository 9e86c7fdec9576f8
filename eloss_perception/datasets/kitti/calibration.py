# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI calibration: from the LiDAR frame to the rectified camera frame and into the left image.

The rectified camera frame has x right, y down and z forward (Geiger et al., "Vision meets
robotics", IJRR 2013, section III). Nothing outside this subpackage needs to know it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eloss_perception.datasets.kitti.labels import parse_number, read_lines
from eloss_perception.errors import DataError

# Width and height [px] of the rectified images of drive day 2011_09_26, most of the object set.
DEFAULT_IMAGE_SIZE = (1242, 375)
# Rectified image size by focal length [px] on each day of the KITTI recordings; the simulator's.
_IMAGE_SIZE_BY_FOCAL_LENGTH = (
    (720.0, (1242, 375)),
    (721.5377, (1242, 375)),
    (707.0493, (1224, 370)),
    (718.3351, (1238, 374)),
    (707.0912, (1226, 370)),
    (718.8560, (1241, 376)),
)

# Farther [px] from the middle of the image than KITTI's principal points are: another camera.
_MAX_OFF_CENTRE = (62.0, 38.0)
# No camera has a shorter focal length [px]; the identity and zeros that stand for none do.
_MIN_FOCAL_LENGTH = 10.0
# Share of the image along its edges in which no camera's principal point lies, cropped or not.
_PRINCIPAL_POINT_MARGIN = 0.1
# A LiDAR and a camera on one vehicle are not farther apart [m].
_MAX_TRANSLATION = 100.0
# What a matrix of rounded numbers may differ from a rotation by, and the least cosine between the
# camera's and the LiDAR's down axes with which boxes can stand upright in both frames.
_ROTATION_TOLERANCE, _MIN_UPRIGHT = 0.02, 0.1

_NO_CAMERA = (
    "for a LiDAR without a camera write Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0, "
    "R0_rect: 1 0 0 0 1 0 0 0 1 and P2: 1 0 0 0 0 1 0 0 0 0 1 0"
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
        image_size: Width and height [px] of the image; (0, 0) where there is no camera. Left out,
            it is guessed from P2: KITTI's own sizes, else twice the principal point.
        size_source: Where the image size comes from, in words.

    Raises:
        DataError: If a matrix is malformed, the transform is not rigid, does not turn the LiDAR's
            axes into a camera's, or the image does not fit P2.
    """

    p2: NDArray[np.float64]
    r0_rect: NDArray[np.float64]
    tr_velo_to_cam: NDArray[np.float64]
    image_size: tuple[int, int] = (0, 0)
    size_source: str = ""

    def __post_init__(self) -> None:
        for name, (_, shape) in _KEYS.items():
            matrix = np.array(getattr(self, name), dtype=np.float64)
            if matrix.shape != shape or not np.isfinite(matrix).all():
                raise DataError(f"calibration: {name} must be {shape} finite numbers")
            object.__setattr__(self, name, matrix)
        self._check_transform()
        self._check_image()

    def _check_transform(self) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            rotation = (matrix := self.lidar_to_camera_matrix)[:3, :3]
            off = np.abs(rotation @ rotation.T - np.eye(3)).max()
        if not off < _ROTATION_TOLERANCE or np.linalg.det(rotation) < 0.0:
            raise DataError(
                "calibration: R0_rect times Tr_velo_to_cam is no rotation, which turns and moves "
                f"without scaling or mirroring; {_NO_CAMERA}"
            )
        if not np.abs(matrix[:3, 3]).max() <= _MAX_TRANSLATION:
            raise DataError(
                "calibration: Tr_velo_to_cam puts LiDAR and camera more than "
                f"{_MAX_TRANSLATION:.0f} m apart; must be metres"
            )
        # The camera's y axis points down, as the LiDAR's z axis points up.
        if rotation[1, 2] > -_MIN_UPRIGHT:
            raise DataError(
                "calibration: Tr_velo_to_cam must turn the LiDAR's axes (x forward, y left, z up) "
                f"into the camera's (x right, y down, z forward), which this one does not; "
                f"{_NO_CAMERA}"
            )

    def _check_image(self) -> None:
        if not self.has_camera:
            object.__setattr__(self, "image_size", (0, 0))
            return
        with np.errstate(over="ignore", invalid="ignore"):
            determinant = abs(float(np.linalg.det(self.p2[:, :3])))
        if not 1e-6 < determinant < math.inf:
            raise DataError(f"calibration: P2 is no projection of a camera; {_NO_CAMERA}")
        if self.image_size == (0, 0):
            object.__setattr__(self, "image_size", self._guess_image_size())
            source = "KITTI's size for this P2" if self.is_kittis else "twice P2's principal point"
            object.__setattr__(self, "size_source", source)
        for axis, size in enumerate(self.image_size):
            centre = self._principal_point[axis]
            if not _PRINCIPAL_POINT_MARGIN <= centre / size <= 1.0 - _PRINCIPAL_POINT_MARGIN:
                width, height = self.image_size
                x, y = self._principal_point
                raise DataError(
                    f"calibration: the image has {width} x {height} px, the principal point of P2 "
                    f"is ({x:.0f}, {y:.0f}): give the images that P2 belongs to, or none"
                )

    @classmethod
    def from_file(cls, path: str | Path) -> Calibration:
        """Reads a calibration file of the object set or of the tracking set.

        Raises:
            DataError: If the file is missing, or a matrix is missing or malformed.
        """
        path = Path(path)
        rows: dict[str, tuple[int, list[str]]] = {}
        for number, line in enumerate(read_lines(path, "calibration"), start=1):
            if tokens := line.split():
                rows[tokens[0].rstrip(":")] = (number, tokens[1:])
        matrices = {}
        for name, (keys, shape) in _KEYS.items():
            if not (found := [rows[key] for key in keys if key in rows]):
                raise DataError(f"{path}: no line {' or '.join(keys)}; {_NO_CAMERA}")
            number, tokens = found[0]
            expected = shape[0] * shape[1]
            try:
                numbers = [parse_number(token) for token in tokens[: expected + 1]]
                matrices[name] = np.array(numbers).reshape(shape)
            except ValueError as error:
                found_instead = f"has {len(tokens)}" if len(tokens) != expected else str(error)
                raise DataError(
                    f"{path}:{number}: {keys[0]} must be {expected} numbers; {found_instead}"
                ) from None
        try:
            return cls(matrices["p2"], matrices["r0_rect"], matrices["tr_velo_to_cam"])
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    @classmethod
    def synthetic(cls) -> Calibration:
        """Returns the calibration of the simulator's camera.

        A level pinhole camera that looks along +x, 0.27 m ahead of and 0.08 m below the LiDAR, and
        spans 81.5 degrees: round numbers near those of a KITTI recording.
        """
        return cls(
            p2=np.array([[720.0, 0.0, 621.0, 0.0], [0.0, 720.0, 175.0, 0.0], [0.0, 0.0, 1.0, 0.0]]),
            r0_rect=np.eye(3),
            tr_velo_to_cam=np.array(
                [[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, -0.08], [1.0, 0.0, 0.0, -0.27]]
            ),
        )

    def to_text(self) -> str:
        """Returns the calibration as a file of the object set, which `from_file` reads back."""
        cameras = {f"P{number}": self.p2 for number in range(4)}
        rest = {"R0_rect": self.r0_rect, "Tr_velo_to_cam": self.tr_velo_to_cam}
        matrices = {**cameras, **rest, "Tr_imu_to_velo": np.eye(3, 4)}
        return "".join(
            f"{key}: " + " ".join(f"{value:.12e}" for value in matrix.ravel()) + "\n"
            for key, matrix in matrices.items()
        )

    @property
    def lidar_to_camera_matrix(self) -> NDArray[np.float64]:
        """(4, 4) float64 rigid transform of the LiDAR frame into the rectified camera frame."""
        transform = np.eye(4)
        transform[:3] = self.r0_rect @ self.tr_velo_to_cam
        return transform

    @property
    def has_camera(self) -> bool:
        """Whether there is an image; in LiDAR-only sets P2 is the identity or zero."""
        return bool(min(self.p2[0, 0], self.p2[1, 1]) >= _MIN_FOCAL_LENGTH)

    @property
    def is_kittis(self) -> bool:
        """Whether P2 is of a day of the KITTI recordings, whose image sizes are known."""
        return self._known_image_size is not None

    @property
    def view(self) -> str:
        """What part of a scan is in view, in words."""
        if not self.has_camera:
            return "no camera: whole scans, judged by their 3D boxes alone"
        width, height = self.image_size
        return f"camera image of {width} x {height} px ({self.size_source})"

    def with_image_size(self, image_size: tuple[int, int], source: str) -> Calibration:
        """Returns the calibration with another size of image, which is checked against P2."""
        return replace(self, image_size=image_size, size_source=source)

    @property
    def _principal_point(self) -> tuple[float, float]:
        return float(self.p2[0, 2]), float(self.p2[1, 2])

    @property
    def _known_image_size(self) -> tuple[int, int] | None:
        for focal_length, size in _IMAGE_SIZE_BY_FOCAL_LENGTH:
            off_centre = np.abs(np.subtract(self._principal_point, 0.5 * np.array(size)))
            is_near = math.isclose(float(self.p2[0, 0]), focal_length, abs_tol=0.01)
            if is_near and (off_centre < _MAX_OFF_CENTRE).all():
                return size
        return None

    def _guess_image_size(self) -> tuple[int, int]:
        if self._known_image_size is not None:
            return self._known_image_size
        width, height = (round(2.0 * min(centre, 1e6)) for centre in self._principal_point)
        if width < 1 or height < 1:
            raise DataError(f"calibration: P2 has no principal point within an image; {_NO_CAMERA}")
        return width, height

    def lidar_to_camera(self, points: ArrayLike) -> NDArray[np.float64]:
        """Moves (N, 3 or more) LiDAR points [m] to (N, 3) float64 in the rectified camera frame."""
        return _transform(points, self.lidar_to_camera_matrix)

    def camera_to_lidar(self, points: ArrayLike) -> NDArray[np.float64]:
        """Moves (N, 3) rectified camera points [m] to (N, 3) float64 in the LiDAR frame."""
        return _transform(points, np.linalg.inv(self.lidar_to_camera_matrix).astype(np.float64))

    def camera_to_image(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Projects points of the rectified camera frame; see `lidar_to_image`."""
        camera = np.asarray(points, dtype=np.float64)
        projected = camera @ self.p2[:, :3].T + self.p2[:, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            uv = projected[:, :2] / projected[:, 2:]
        return uv, camera[:, 2].copy()

    def lidar_to_image(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Projects LiDAR points into the left colour image.

        Args:
            points: (N, 3 or more) x, y, z [m], LiDAR frame.

        Returns:
            (N, 2) float64 u, v [px], valid where the depth is positive, and (N,) float64 depth [m].
        """
        return self.camera_to_image(self.lidar_to_camera(points))


def camera_view_mask(
    points: ArrayLike, calibration: Calibration, image_size: tuple[int, int] | None = None
) -> NDArray[np.bool_]:
    """Returns which points the camera sees: 0 < u < width, 0 < v < height and depth > 0.

    KITTI labels exist in this part of a scan only; detectors are trained and evaluated on it.

    Args:
        points: (N, 3 or more) x, y, z [m], LiDAR frame; a non-finite point is not seen.
        calibration: The frame's; without a camera all points are in view.
        image_size: Width and height [px]; without it the calibration's.

    Returns:
        (N,) bool.
    """
    if not calibration.has_camera:
        return np.ones(len(np.asarray(points)), np.bool_)
    width, height = calibration.image_size if image_size is None else image_size
    uv, depth = calibration.lidar_to_image(points)
    u, v = uv[:, 0], uv[:, 1]
    seen: NDArray[np.bool_] = (u > 0) & (u < width) & (v > 0) & (v < height) & (depth > 0)
    return seen


def _transform(points: ArrayLike, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Applies a (4, 4) rigid transform to the first three columns of (N, >= 3) points."""
    array = np.asarray(points)
    if array.ndim != 2 or array.shape[1] < 3:
        raise ValueError(f"points have the shape {array.shape}, must be (N, 3) or wider")
    xyz = array[:, :3].astype(np.float64)
    # A point beyond range is a value of the sensor (REP-117), not a fault of this arithmetic.
    with np.errstate(invalid="ignore"):
        return np.asarray(xyz @ matrix[:3, :3].T + matrix[:3, 3])
