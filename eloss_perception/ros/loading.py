# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node's detector, as its settings name it. Needs no ROS."""

from __future__ import annotations

from eloss_perception.ros.params import DetectorNodeSettings
from eloss_perception.runtime.backend_recovery import RecoveringBackend
from eloss_perception.runtime.backends import load_backend
from eloss_perception.runtime.backends.base import Backend
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.runtime.detector import Detector, full_scan


def load_detector(settings: DetectorNodeSettings) -> Detector:
    """Loads the bundle that the settings name and runs it on every backend they name.

    Raises:
        BundleError: If the bundle is unusable or has no health reference.
        BackendError: If a backend cannot run it.
    """
    bundle = Bundle.load(settings.bundle or default_bundle_path())
    bundle.require_health()
    thresholds = settings.detection_thresholds(bundle.class_names)
    detector = Detector(bundle, _recovering_backend(bundle, settings), thresholds=thresholds)
    detector.warm_up(num_frames=2)
    return detector


def _recovering_backend(bundle: Bundle, settings: DetectorNodeSettings) -> RecoveringBackend:
    points = full_scan(bundle.grid)

    def load(name: str) -> Backend:
        backend = load_backend(
            name,
            bundle.onnx_path,
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
