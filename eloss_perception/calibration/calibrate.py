# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Health reference of a bundle: from simulation, or moved to a vehicle's own clean scans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eloss_perception.calibration.checks import check_clean, check_enough
from eloss_perception.calibration.profiles import collect_profiles, num_profile_scans
from eloss_perception.errors import DataError
from eloss_perception.health.fit import check_readings, fit_reference, move_reference
from eloss_perception.health.readings import reading_names
from eloss_perception.health.reference import HealthReference
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle, write_reference
from eloss_perception.runtime.detector import Detector
from eloss_perception.simulation.drive import simulate_scan
from eloss_perception.simulation.sensor_variants import sensor_variant

_CALIBRATION_SEED = 770_000  # scenes that neither training nor export parity uses
# Profiles are means over drives, and their average precision needs cars to count.
_MIN_DRIVES = 3

# Told how many scans have been read.
Progress = Callable[[int], None]


def num_scans_to_read(num_layers: int, num_scans: int, num_drives: int) -> int:
    """Scans that :func:`calibrate_from_simulation` reads: what its progress runs up to."""
    return 2 * num_scans + num_profile_scans(num_layers, num_drives)


def calibrate_from_simulation(
    path: Path,
    num_scans: int = 400,
    num_drives: int = 60,
    false_alarms_per_hour: float = 1.0,
    rate_hz: float = 10.0,
    backend: str = "onnxruntime_cpu",
    num_threads: int = 2,
    progress: Progress = lambda done: None,
) -> HealthReference:
    """Fits a bundle's health reference to simulated scans and stores it in the bundle.

    Args:
        path: The bundle.
        num_scans: Clean scans, each of another street, and as many of other units of the sensor.
        num_drives: Short drives on which every corruption is tried, each down another street.
        false_alarms_per_hour: Events in an hour of clean driving that may raise an alarm.
        rate_hz: Scans a second.
        backend: What runs the network.
        num_threads: Its CPU threads.
        progress: Called with the number of scans read so far; see :func:`num_scans_to_read`.

    Raises:
        BundleError: If the bundle cannot be read.
        DataError: If there are too few scans or drives, or they cannot serve as clean.
    """
    check_enough(num_scans)
    if num_drives < _MIN_DRIVES:
        raise DataError(f"{num_drives} drives are too few; {_MIN_DRIVES} are needed")
    bundle = Bundle.load_uncalibrated(path)
    detector = Detector(bundle, backend, BackendSettings(num_threads=num_threads))
    clean, varied = [], []
    for index in range(num_scans):
        points = simulate_scan(_CALIBRATION_SEED + index).points
        clean.append(detector.detect(points).readings)
        varied.append(detector.detect(sensor_variant(points, seed=index)).readings)
        progress(2 * (index + 1))
    profiles = collect_profiles(
        bundle, num_drives, backend, num_threads, lambda done: progress(2 * num_scans + done)
    )
    reference = fit_reference(
        np.array(clean),
        np.array(varied),
        profiles,
        layer_names=bundle.facts.layer_names,
        stages=bundle.facts.layer_stages,
        names=reading_names(bundle.facts.layer_names),
        source=f"{num_scans} simulated scans and {num_drives} simulated drives",
        false_alarms_per_hour=false_alarms_per_hour,
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
    backend: str = "onnxruntime_cpu",
    num_threads: int = 2,
    labels: Sequence[str] | None = None,
    progress: Progress = lambda done: None,
) -> HealthReference:
    """Moves a bundle's health reference to clean scans and stores it in the bundle.

    Args:
        path: The bundle; has a reference already.
        scans: Clean (N, 4) scans in the network frame.
        source: What the scans are, in words; stored with the reference.
        false_alarms_per_hour: Events in an hour of clean driving that may raise an alarm.
        rate_hz: Scans a second.
        frames_apart_s: Time between the scans [s]; large for scans of different places.
        backend: What runs the network.
        num_threads: Its CPU threads.
        labels: What each scan is called in messages; its number where None.
        progress: Called with the number of scans read so far.

    Raises:
        BundleError: If the bundle cannot be read, or has no reference to move.
        DataError: If there are too few scans, or they cannot serve as clean.
    """
    bundle = Bundle.load(path)
    old = bundle.require_health()
    detector = Detector(bundle, backend, BackendSettings(num_threads=num_threads))
    rows = []
    for number, points in enumerate(scans, 1):
        rows.append(detector.detect(points).readings)
        progress(number)
    check_enough(len(rows))
    clean = np.array(rows)
    check_readings(clean)
    names = [f"scan {i}" for i in range(len(rows))] if labels is None else labels
    check_clean(old, clean, names)
    reference = move_reference(old, clean, source, false_alarms_per_hour, frames_apart_s)
    write_reference(path, reference, false_alarms_per_hour, rate_hz)
    return reference
