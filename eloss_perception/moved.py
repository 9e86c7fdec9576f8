# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where 0.4's modules are now: its names can still be imported, with a warning, until 0.6."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_PACKAGE = __name__.rpartition(".")[0] + "."

# Old name -> new name, below the package. The longest that fits counts; what follows it stays.
_MOVED = {
    "bags": "datasets.bags",
    "bags.drives": "replay.drives",
    "bags.sink": "datasets.bags.writer",
    "commands": "cli",
    "core": "detection",
    "core.classes": "detection.boxes",
    "core.entropy": "health.entropy",
    "core.fingerprints": "health.recent_frames",
    "core.ground": "health.ground",
    "core.health": "health.monitor",
    "core.health_classifier": "health.judge",
    "core.health_memory": "health.recent_frames",
    "core.health_reference": "health.reference",
    "core.health_words": "health.readings",
    "core.logits": "detection.heads",
    "core.point_fields": "detection.points",
    "core.readings": "health.readings",
    "core.sampling": "detection.points",
    "core.scan_files": "datasets.scan_files",
    "core.scan_statistics": "health.scan_statistics",
    "core.sectors": "health.scan_statistics",
    "demo": "replay.demo",
    "demo.cars": "replay.demo.record",
    "demo.drive": "replay.demo.demo",
    "demo.phases": "replay.demo.record",
    "demo.run": "replay.demo.demo",
    "demo.settings": "replay.demo.demo",
    "demo.watch": "replay.demo.play",
    "kitti": "datasets.kitti",
    "kitti.images": "datasets.kitti.layout",
    "kitti.leaks": "datasets.kitti.check",
    "kitti.objects": "datasets.kitti.labels",
    "model": "network",
    "model.entropy": "network.entropy_readout",
    "model.folding": "export.onnx",
    "model.heads": "network.blocks",
    "ros.arrivals": "ros.status",
    "ros.declare": "ros.parameters",
    "ros.gauge_parts": "ros.gauge",
    "ros.large_messages": "ros.middleware",
    "ros.loading": "ros.node_settings",
    "ros.log_bridge": "ros.middleware",
    "ros.mailbox": "ros.worker",
    "ros.params": "ros.node_settings",
    "ros.shared_memory": "ros.middleware",
    "ros.transitions": "ros.managed",
    "replay.cloud_rows": "replay.message_edits",
    "replay.keyboard": "replay.player_node",
    "replay.qos": "replay.ros_graph",
    "replay.recorder_node": "replay.recorder",
    "replay.restamp": "replay.message_edits",
    "replay.ros_arguments": "replay.ros_graph",
    "replay.settings": "replay.player_options",
    "runtime.backends.auto": "runtime.backends",
    "runtime.backends.cuda_device": "runtime.gpu.driver",
    "runtime.backends.onnxruntime_cuda": "runtime.backends.onnxruntime_gpu",
    "runtime.backends.onnxruntime_session": "runtime.backends.onnxruntime_cpu",
    "runtime.backends.onnxruntime_tensorrt": "runtime.backends.onnxruntime_gpu",
    "runtime.backends.padded_inputs": "runtime.backends.base",
    "runtime.health_file": "health.reference_file",
    "runtime.regular_files": "files",
    "simulation.beams": "simulation.corruptions.sensor",
    "simulation.builder": "simulation.objects.builder",
    "simulation.cars": "simulation.objects.cars",
    "simulation.corruptions.apply": "simulation.corruptions.table",
    "simulation.corruptions.fog": "simulation.corruptions.weather",
    "simulation.corruptions.loss": "simulation.corruptions.noise",
    "simulation.corruptions.mounting": "simulation.corruptions.driver",
    "simulation.corruptions.receiver": "simulation.corruptions.scan",
    "simulation.corruptions.road": "simulation.corruptions.scan",
    "simulation.depth_buffer": "simulation.lidar.rays",
    "simulation.ground": "simulation.lidar.ground",
    "simulation.heavy_vehicles": "simulation.objects.vehicles",
    "simulation.kitti_labels": "simulation.drive",
    "simulation.parts": "simulation.objects.builder",
    "simulation.people": "simulation.objects.people",
    "simulation.ray_hash": "simulation.lidar.rays",
    "simulation.raycast": "simulation.lidar.raycast",
    "simulation.raycast_window": "simulation.lidar.windows",
    "simulation.rays": "simulation.lidar.rays",
    "simulation.render": "simulation.lidar.render",
    "simulation.scene": "simulation.drive",
    "simulation.scene_arrays": "simulation.lidar.render",
    "simulation.sensor_pose": "simulation.lidar.rays",
    "simulation.sensor_response": "simulation.lidar.response",
    "simulation.surroundings": "simulation.objects.surroundings",
    "training.batch_norm": "training.distributed",
    "training.calibration": "calibration.calibrate",
    "training.calibration_checks": "calibration.calibrate",
    "training.center_targets": "training.targets",
    "training.data.augmentation": "training.data.samples",
    "training.data.collisions": "training.data.object_augmentation",
    "training.data.frame_store": "training.data.frames",
    "training.data.local_ground": "training.data.object_database",
    "training.data.object_noise": "training.data.object_augmentation",
    "training.data.object_pasting": "training.data.object_augmentation",
    "training.data.simulated_dataset": "training.validation",
    "training.data.sources": "training.data.loading",
    "training.devices": "training.optimization",
    "training.evaluation": "evaluation",
    "training.export": "export.onnx",
    "training.health_benchmark": "evaluation.health",
    "training.health_fit": "health.fit",
    "training.health_profiles": "calibration.profiles",
    "training.network_detector": "training.validation",
    "training.network_faults": "calibration.profiles",
    "training.onnx_graph": "export.onnx_graph",
    "training.parity": "export.onnx_graph",
    "training.presets": "training.settings",
    "training.progress": "training.metrics",
    "training.quantization": "export.quantization",
    "training.quantization.background": "export.quantization.activations",
    "training.quantization.comparison": "export.quantization.acceptance",
    "training.quantization.half": "export.quantization.precision",
    "training.quantization.health": "export.quantization.acceptance",
    "training.quantization.integers": "export.quantization.precision",
    "training.quantization.layers": "export.quantization.precision",
    "training.quantization.ranges": "export.quantization.activations",
    "training.quantization.rewrites": "export.quantization.graph",
    "training.quantization.run": "export.quantization.quantize",
    "training.quantization.settings": "export.quantization.writer",
    "training.sensor_variants": "simulation.sensor_variants",
    "viz": "plots",
    "viz.camera": "plots.boxes",
    "viz.corruptions": "plots.comparisons",
    "viz.curves": "plots.charts",
    "viz.files": "plots.animation",
    "viz.health": "plots.health_charts",
    "viz.health_table": "plots.health_charts",
    "viz.outcomes": "plots.comparisons",
    "viz.precision_recall": "plots.charts",
    "viz.profile": "plots.health_charts",
}


def new_name(old: str) -> str | None:
    """Where a module of 0.4 is now; None where it has not moved."""
    if not old.startswith(_PACKAGE):
        return None
    parts = old.removeprefix(_PACKAGE).split(".")
    for end in range(len(parts), 0, -1):
        new = _MOVED.get(".".join(parts[:end]))
        if new is not None:
            return _PACKAGE + ".".join([new, *parts[end:]])
    return None


class MovedModules(MetaPathFinder, Loader):
    """Makes an old name stand for the very module, or the contents of the package, of the new."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds what has moved; asked before the folders are, which know the new names alone."""
        new = new_name(name)
        if new is None:
            return None
        where = importlib.util.find_spec(new)
        if where is None:
            return None
        is_package = where.submodule_search_locations is not None
        return ModuleSpec(name, self, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        """Puts the module of the new name in the place of the one that was to be filled.

        A package stays itself, and gives what the new one has: its modules may have gone apart.
        """
        new = importlib.import_module(new_name(module.__name__) or "")
        text = f"{module.__name__} is {new.__name__} now; the old name goes with 0.6"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        if hasattr(new, "__path__"):
            module.__dict__["__getattr__"] = partial(getattr, new)
        else:
            sys.modules[module.__name__] = new
