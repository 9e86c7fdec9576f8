# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Health reference of a bundle: from simulation, or moved to a vehicle's own clean scans."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eloss_perception.core.health_reference import HealthReference
from eloss_perception.core.readings import reading_names
from eloss_perception.errors import DataError
from eloss_perception.kitti.dataset import KittiDataset
from eloss_perception.runtime.bundle import Bundle, write_reference
from eloss_perception.runtime.detector import Detector
from eloss_perception.simulation.scene import simulate_scan
from eloss_perception.training.health_fit import fit_reference, move_reference
from eloss_perception.training.health_profiles import collect_profiles

# With fewer frames than this neither where normal is nor how it varies can be told.
MIN_FRAMES = 30

_CALIBRATION_SEED = 770_000  # scenes that neither training nor export parity uses

# (step, frames or drives done, of how many)
Progress = Callable[[str, int, int], None]


def calibrate_from_simulation(
    path: Path,
    num_scans: int = 400,
    num_drives: int = 60,
    false_alarms_per_hour: float = 1.0,
    rate_hz: float = 10.0,
    num_threads: int = 2,
    progress: Progress = lambda step, done, total: None,
) -> HealthReference:
    """Fits a bundle's health reference to simulated scans and stores it in the bundle.

    Args:
        path: The bundle.
        num_scans: Clean scans, each of another street.
        num_drives: Short drives on which every corruption is tried.
        false_alarms_per_hour: Events in an hour of clean driving that may raise an alarm.
        rate_hz: Scans a second.
        num_threads: CPU threads of the network.
        progress: Told what is being done and how far it is.

    Raises:
        BundleError: If the bundle cannot be read.
        DataError: If there are too few scans.
    """
    _require_frames(num_scans)
    bundle = Bundle.load_uncalibrated(path)
    detector = Detector(bundle, num_threads=num_threads)
    clean = []
    for index in range(num_scans):
        clean.append(detector.detect(simulate_scan(_CALIBRATION_SEED + index).points).readings)
        progress("clean scans", index + 1, num_scans)
    profiles = collect_profiles(
        detector, num_drives, lambda done, total: progress("corrupted drives", done, total)
    )
    reference = fit_reference(
        np.array(clean),
        profiles,
        layer_names=bundle.facts.layer_names,
        stages=bundle.facts.layer_stages,
        names=reading_names(bundle.facts.layer_names),
        source=f"{num_scans} simulated scans and {num_drives} simulated drives",
        false_alarms_per_hour=false_alarms_per_hour,
        rate_hz=rate_hz,
    )
    write_reference(path, reference, false_alarms_per_hour, rate_hz)
    return reference


def recalibrate(
    path: Path,
    scans: Iterable[npt.NDArray[np.float32]],
    source: str,
    false_alarms_per_hour: float = 1.0,
    rate_hz: float = 10.0,
    frames_apart_s: float = 60.0,
    num_threads: int = 2,
    progress: Callable[[int], None] = lambda done: None,
) -> HealthReference:
    """Moves a bundle's health reference to clean scans and stores it in the bundle.

    Args:
        path: The bundle; has a reference already.
        scans: Clean (N, 4) scans in the network frame.
        source: What the scans are, in words; stored with the reference.
        false_alarms_per_hour: Events in an hour of clean driving that may raise an alarm.
        rate_hz: Scans a second.
        frames_apart_s: Time between the scans [s]; large for scans of different places.
        num_threads: CPU threads of the network.
        progress: Called with the number of scans read so far.

    Raises:
        BundleError: If the bundle cannot be read, or has no reference to move.
        DataError: If there are too few scans, or they cannot serve as clean.
    """
    bundle = Bundle.load(path)
    old = bundle.require_health()
    detector = Detector(bundle, num_threads=num_threads)
    rows = []
    for number, points in enumerate(scans, 1):
        rows.append(detector.detect(points).readings)
        progress(number)
    _require_frames(len(rows))
    reference = move_reference(
        old, np.array(rows), source, false_alarms_per_hour, rate_hz, frames_apart_s
    )
    write_reference(path, reference, false_alarms_per_hour, rate_hz)
    return reference


def kitti_scans(root: Path, split: str) -> Iterable[npt.NDArray[np.float32]]:
    """The scans of one split of a KITTI root."""
    dataset = KittiDataset(root, split)
    for frame_id in dataset.ids:
        yield dataset.points(frame_id)


def _require_frames(num_frames: int) -> None:
    if num_frames < MIN_FRAMES:
        raise DataError(f"{num_frames} scans are too few to calibrate on; {MIN_FRAMES} are needed")
