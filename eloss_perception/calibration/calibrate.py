# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A bundle's health reference: fitted to simulation, or recalibrated to a vehicle's clean scans.

That all scans of a recording are disturbed in the same way cannot be seen from them: it is what
they call clean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eloss_perception.calibration.profiles import collect_profiles, num_profile_scans
from eloss_perception.errors import DataError
from eloss_perception.health.fit import check_readings, fit_reference, move_reference
from eloss_perception.health.judge import HealthJudge
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

# With fewer frames than this neither where normal is nor how it varies can be told.
MIN_FRAMES = 30
# Median distance of a frame from the median frame, in standard deviations of the old reference.
# Streets differ from each other by 0.7; a minute of simulated driving has 0.45 to 0.57, a vehicle
# that stands in traffic 0.17 to 0.19.
_MIN_SPREAD = 0.3
# A frame is anomalous if its distance from the median frame exceeds the median distance by so many
# standard deviations, told from the MAD as if distances were Gaussian. On simulated drives clean
# frames stay below 5; 10 s of lost beams or a tilted sensor in a minute reach 7 to 25.
_ANOMALOUS = 5.0
_MAD_TO_STD = 1.4826
# The least standard deviation that is trusted, relative to the median distance.
_MIN_STD = 0.1
_MAX_ANOMALOUS_SHARE = 0.05
_MAX_NAMED = 5

Array = npt.NDArray[np.float64]

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
    """Recalibrates a bundle's health reference to clean scans and stores it in the bundle.

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
        BundleError: If the bundle cannot be read, or has no reference to recalibrate.
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


def check_enough(num_frames: int) -> None:
    """Refuses too few frames.

    Raises:
        DataError: If there are fewer than ``MIN_FRAMES``.
    """
    if num_frames < MIN_FRAMES:
        raise DataError(f"{num_frames} scans are too few to calibrate on; {MIN_FRAMES} are needed")


def check_clean(old: HealthReference, readings: Array, labels: Sequence[str]) -> None:
    """Refuses a vehicle that stands, and recordings that are clean in part.

    Args:
        old: The reference to recalibrate; only its scales are used, not its mean.
        readings: (N, R) readings of frames in order of time, all finite.
        labels: (N,) what each frame is called in messages.

    Raises:
        DataError: If the frames cannot serve as clean.
    """
    median = np.median(readings, axis=0)
    squares = old.deviations(readings, median) ** 2
    spread = float(np.median(np.sqrt(squares.mean(axis=1))))
    if spread < _MIN_SPREAD:
        raise DataError(
            f"the scans are too much alike ({spread:.2f} standard deviations, {_MIN_SPREAD} are "
            "needed): the vehicle stood or hardly moved; record it driving"
        )
    own = replace(old, mean=median, gap=np.zeros_like(old.gap))
    anomalous = anomalous_frames(HealthJudge(own).judge(readings).distance)
    if anomalous.mean() > _MAX_ANOMALOUS_SHARE:
        raise DataError(
            f"{anomalous.sum()} of {len(anomalous)} scans are unlike the others and cannot be "
            f"clean with them: {_spans(anomalous, labels)}; leave that part out"
        )


def anomalous_frames(distance: Array) -> npt.NDArray[np.bool_]:
    """(N,) whether each frame is far from the median frame, compared with the other frames.

    Args:
        distance: (N,) distance of each frame from the median one.
    """
    middle = float(np.median(distance))
    std = _MAD_TO_STD * float(np.median(np.abs(distance - middle)))
    return np.asarray(distance > middle + _ANOMALOUS * max(std, _MIN_STD * middle))


def _spans(anomalous: npt.NDArray[np.bool_], labels: Sequence[str]) -> str:
    """The longest runs of anomalous frames, by their labels."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], anomalous, [False]]).astype(np.int8)))
    runs = sorted(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[0] - run[1])
    named = [
        labels[first] if end - first == 1 else f"{labels[first]} to {labels[end - 1]}"
        for first, end in sorted(runs[:_MAX_NAMED])
    ]
    return ", ".join(named) + (" and others" if len(runs) > _MAX_NAMED else "")
