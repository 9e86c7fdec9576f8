# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the TensorRT engine of a network.

For TensorRT 10.3 to 11 and TensorRT-RTX: what a version lacks is left out. The file alone sets the
precision, since TensorRT 11 has no builder flags for it: networks are strongly typed. TF32 is off,
because the health reference was measured in float32.

Two builds may differ in the last bits (TensorRT's guide, "Algorithm Selection and Reproducible
Builds"): tactics are chosen by timing, and each sums in its own order. Hence the cache, and the
lock that lets one of several processes build. Within one engine NVIDIA's headers call only random
fills non-deterministic, and our networks have neither these nor scatters; we know of no promise of
equal bits for equal input, so a run on the GPU has to show them.

There is no timing cache: an editable one fixes tactics only from the second build on, after
somebody has chosen them by hand, and a plain one fits only the same GPU and version, as the engine
itself. TensorRT-RTX does not time, and would need a GPU for a timing cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eloss_perception.detection.grid import PillarGrid
from eloss_perception.errors import BackendError
from eloss_perception.runtime.backends.base import OUTPUT_NAMES, in_one_line
from eloss_perception.runtime.engines.library import product_name, shared_log
from eloss_perception.runtime.engines.progress import BuildWatch, Progress
from eloss_perception.runtime.onnx_file import OnnxFile

# The exporter specialises sizes 0 and 1, so the networks take two pillars or more.
MIN_PILLARS = 2

# Scratch memory for the kernels that a build tries. Far more than these networks need, and part of
# the memory that the smallest Jetson shares between CPU and GPU.
WORKSPACE_BYTES = 1 << 30


@dataclass(frozen=True)
class PillarProfile:
    """Numbers of pillars that an engine is built for, and points a pillar.

    Attributes:
        least: Fewest pillars.
        typical: Number of pillars that tactics are timed with.
        most: Most pillars.
        points_per_pillar: Places for points in a pillar.
    """

    least: int
    typical: int
    most: int
    points_per_pillar: int

    @classmethod
    def of(cls, grid: PillarGrid) -> PillarProfile:
        """Returns the profile that covers every frame of a grid; half full is typical."""
        most = max(MIN_PILLARS, grid.max_pillars)
        return cls(MIN_PILLARS, max(MIN_PILLARS, most // 2), most, grid.max_points_per_pillar)


@dataclass(frozen=True)
class BuiltEngine:
    """A serialized engine.

    Attributes:
        plan: What TensorRT deserializes.
        precision: What its convolutions compute in: ``float32``, ``float16`` or ``int8``.
    """

    plan: bytes
    precision: str


def build_engine(
    trt: Any, onnx: OnnxFile, profile: PillarProfile, progress: Progress
) -> BuiltEngine:
    """Builds the engine of a network for the current GPU.

    Args:
        trt: The module, see ``library.py``.
        onnx: The network.
        profile: The numbers of pillars.
        progress: Called with the progress, where TensorRT reports it.

    Raises:
        BackendError: If TensorRT refuses the network, naming the operator, or fails.
    """
    path = onnx.path
    log = shared_log(trt)
    log.errors.clear()
    failed = f"{product_name(trt)} cannot build {path}"
    try:
        builder = trt.Builder(log.logger)
        config = builder.create_builder_config()
        network = builder.create_network(_creation_flags(trt))
    except Exception as error:  # TensorRT's constructors raise TypeError without a usable GPU
        raise BackendError(f"{failed}: {log.reason(in_one_line(error))}") from None
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse(onnx.content):
        raise BackendError(
            f"{product_name(trt)} refuses {path}: {_parser_errors(parser) or log.reason('')}"
        )
    _check_outputs(trt, network, path)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    config.add_optimization_profile(_optimization_profile(builder, network, profile, path))
    watch = BuildWatch(trt, progress) if hasattr(trt, "IProgressMonitor") else None
    if watch is not None:
        config.progress_monitor = watch.monitor
    precision = _precision(trt, network)
    try:
        # `network` and `parser` must live until here: the weights are theirs.
        plan = builder.build_serialized_network(network, config)
    except Exception as error:
        raise BackendError(f"{failed}: {log.reason(in_one_line(error))}") from None
    if watch is not None and watch.interrupt is not None:
        raise watch.interrupt
    if plan is None:
        raise BackendError(f"{failed}: {log.reason('it gave no reason')}")
    return BuiltEngine(bytes(plan), precision)


def _creation_flags(trt: Any) -> int:
    """Strongly typed: always so from TensorRT 11 on, where the flag may disappear."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parser_errors(parser: Any) -> str:
    """Returns the parser's errors, each with its operator and node."""
    found = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        # Some importers throw; then only the function's name contains that of the operator.
        where = f"operator {error.node_operator()} (node {error.node_name()})"
        reason = error.desc()
        found.append(
            f"{where if error.node_operator() else error.func()}: "
            f"{'not supported' if reason == 'false' else reason}"
        )
    return in_one_line("; ".join(dict.fromkeys(found)))


def _check_outputs(trt: Any, network: Any, path: Path) -> None:
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    missing = set(OUTPUT_NAMES) - {output.name for output in outputs}
    if missing:
        raise BackendError(
            f"{path} has no output {', '.join(sorted(missing))}; export the bundle again"
        )
    for output in outputs:
        if output.name in OUTPUT_NAMES and output.dtype != trt.DataType.FLOAT:
            raise BackendError(f"{path}: output {output.name} is {output.dtype}, not float32")


def _optimization_profile(builder: Any, network: Any, profile: PillarProfile, path: Path) -> Any:
    shapes = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        shape = tuple(tensor.shape)
        if -1 not in shape:
            continue
        if shape[0] != -1 or -1 in shape[1:]:
            raise BackendError(
                f"{path}: input {tensor.name} has shape {shape}: only the number of "
                "pillars may be open; export the bundle again"
            )
        numbers = (profile.least, profile.typical, profile.most)
        shapes.set_shape(tensor.name, *((number, *shape[1:]) for number in numbers))
    return shapes


def _precision(trt: Any, network: Any) -> str:
    """Returns the precision that the convolutions of a strongly typed network compute in."""
    precision = "float32"
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.QUANTIZE:
            return "int8"
        is_convolution = layer.type == trt.LayerType.CONVOLUTION
        if is_convolution and layer.get_input(0).dtype == trt.DataType.HALF:
            precision = "float16"
    return precision
