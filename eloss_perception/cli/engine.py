# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss engine`: build a bundle's TensorRT engine ahead of time, or check that it can be built."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from eloss_perception.cli.parsing import Subparsers, add_command, seed
from eloss_perception.cli.terminal import progress_bar, say
from eloss_perception.errors import BackendError

if TYPE_CHECKING:
    from eloss_perception.runtime.bundle import Bundle
    from eloss_perception.runtime.engines.progress import Progress


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "engine",
        run,
        "build a bundle's TensorRT engine, or check that TensorRT takes the network",
        details=(
            "TensorRT makes an engine out of a network on the very machine that runs it, which\n"
            "takes minutes on a Jetson. The backend `tensorrt` does so when it first starts; this\n"
            "command does it beforehand. Engines are kept in the cache folder, which may be\n"
            "deleted at any time.\n"
            "--check needs no GPU: it parses and builds through TensorRT-RTX\n"
            "(pip install tensorrt-rtx-cu13), keeps nothing, and names the operator that is\n"
            "refused. The exit status is 2 then."
        ),
        example=(
            "eloss engine --bundle models/pillars_light\n"
            "eloss engine --bundle models/mine --cache /opt/engines --device 1\n"
            "eloss engine --bundle models/mine --check"
        ),
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="default: the shipped one")
    parser.add_argument("--check", action="store_true", help="build without a GPU, keep nothing")
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder of engines (default: ~/.cache/eloss_perception/engines)",
    )
    parser.add_argument("--device", type=seed, default=0, metavar="N", help="GPU (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Builds or check the engine and say how."""
    from eloss_perception.runtime.bundle import Bundle, default_bundle_path

    bundle = Bundle.load_uncalibrated(args.bundle or default_bundle_path())
    quantization = bundle.facts.quantization
    if quantization is not None and quantization.target != "tensorrt":
        raise BackendError(
            f"bundle {bundle.path} is quantized for {quantization.target}; TensorRT needs one made "
            "with `eloss quantize --target tensorrt`, or the float32 bundle"
        )
    return _check(bundle) if args.check else _build(bundle, args.cache, args.device)


def _check(bundle: Bundle) -> int:
    from eloss_perception.runtime.engines.build import PillarProfile, build_engine
    from eloss_perception.runtime.engines.library import load_checker, product_name

    trt = load_checker()
    with _shown_progress() as progress:
        engine = build_engine(
            trt,
            bundle.onnx,
            PillarProfile.of(bundle.grid),
            progress,
        )
    size_mb = len(engine.plan) / 1e6
    say(f"{product_name(trt)} builds {bundle.path} ({engine.precision}, {size_mb:.1f} MB)")
    return 0


def _build(bundle: Bundle, cache: Path | None, device_index: int) -> int:
    from eloss_perception.runtime.engines.cache import EngineCache
    from eloss_perception.runtime.engines.library import load_tensorrt, product_name
    from eloss_perception.runtime.engines.provide import Device, provide_engine

    trt = load_tensorrt()
    from eloss_perception.runtime.gpu.cuda import CudaContext

    cuda = CudaContext(device_index)
    try:
        device = Device.of(cuda)
        # Before the build, so that minutes without a bar, as in a log, are explained.
        say(f"{product_name(trt)}, {device.name} ({device.compute_capability})")
        with _shown_progress() as progress:
            provided = provide_engine(
                trt, bundle.onnx, bundle.grid, device, EngineCache(cache), progress
            )
    finally:
        cuda.close()
    how = "from the cache" if provided.build_s is None else f"built in {provided.build_s:.0f} s"
    size_mb = provided.num_bytes / 1e6
    say(f"engine: {provided.path or 'not kept'} ({provided.precision}, {size_mb:.1f} MB, {how})")
    return 0


@contextmanager
def _shown_progress() -> Iterator[Progress]:
    """A bar for each of a build's outermost phases; TensorRT does not say how many will come."""
    with progress_bar(100, "% of the build") as advance:
        yield lambda phase, share: advance(int(100 * share))
