# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node's detector, as its settings name it. Needs no ROS."""

from __future__ import annotations

from eloss_perception.errors import BundleError, printable
from eloss_perception.health.monitor import HealthMonitor
from eloss_perception.health.readings import reading_names
from eloss_perception.health.reference import HealthReference
from eloss_perception.ros.params import DetectorNodeSettings
from eloss_perception.runtime.backend_recovery import RecoveringBackend
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import Backend
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.runtime.detector import Detector, full_scan


def load_detector(settings: DetectorNodeSettings) -> Detector:
    """Loads the bundle that the settings name and runs it on every backend they name.

    Raises:
        BundleError: If the bundle is unusable, has no health reference, or one that does not fit
            what its network puts out.
        BackendError: If a backend cannot run it.
    """
    bundle = Bundle.load(settings.bundle or default_bundle_path())
    reference = bundle.require_health()
    thresholds = settings.detection_thresholds(bundle.class_names)
    detector = Detector(bundle, _recovering_backend(bundle, settings), thresholds=thresholds)
    try:
        detector.warm_up(num_frames=1)
        _check_readings(detector, reference)
    except BaseException:
        detector.close()
        raise
    return detector


def _check_readings(detector: Detector, reference: HealthReference) -> None:
    """Judges a frame, so that what does not fit is refused now and not with the first scan."""
    bundle = detector.bundle
    if reference.reading_names != reading_names(bundle.facts.layer_names):
        raise BundleError(
            f"{bundle.path}: the health reference is not one of this network's layers"
            f" ({printable(', '.join(bundle.facts.layer_names), 200)}); run `eloss calibrate` on it"
        )
    readings = detector.detect(full_scan(detector.grid)).readings
    if readings.shape != reference.mean.shape:
        raise BundleError(
            f"{bundle.path}: the network gives {len(readings)} readings, its health reference is of"
            f" {len(reference.mean)}; run `eloss calibrate` on it"
        )
    HealthMonitor(reference).update(readings)


def _recovering_backend(bundle: Bundle, settings: DetectorNodeSettings) -> RecoveringBackend:
    points = full_scan(bundle.grid)

    def load(name: str) -> Backend:
        backend = load_backend(
            name,
            bundle.onnx,
            bundle.grid,
            settings.backend_settings(),
            bundle.facts.quantization,
        )
        try:
            backend.run(backend.pillarize(points))
        except BaseException:
            backend.close()
            raise
        return backend

    names = [settings.backend]
    if settings.backend_fallback:
        names.append(settings.backend_fallback)
    return RecoveringBackend(load, names, settings.backend_max_failures)
