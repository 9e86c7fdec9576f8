# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss quantize`: a float32 bundle in integers or half precision."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from eloss_perception.cli.parsing import (
    Subparsers,
    add_command,
    positive_float,
    positive_int,
    seconds,
    settings_from,
)
from eloss_perception.cli.terminal import progress_bar, say, say_table
from eloss_perception.errors import ConfigError

if TYPE_CHECKING:
    from eloss_perception.export.quantization.quantize import Quantized
    from eloss_perception.export.quantization.writer import Progress


def add_parser(subparsers: Subparsers) -> None:
    """Declares the subcommand."""
    parser = add_command(
        subparsers,
        "quantize",
        run,
        "make a bundle faster: 8-bit integers or half precision",
        details=(
            "Writes a bundle of its own for one kind of runtime: cpu is for OpenVINO and ONNX\n"
            "Runtime on a CPU, tensorrt for TensorRT on a GPU; neither runs the other's rightly.\n"
            "Both networks are run on the same labelled frames and on the same clean scans. The\n"
            "quantised one is refused if Car's average precision falls or the readings that\n"
            "health is judged by move by more than is allowed; else its health reference is\n"
            "corrected by the difference.\n"
            "Without --data scans and frames are simulated."
        ),
        example=(
            "eloss quantize --bundle models/mine --data kitti\n"
            "eloss quantize --bundle models/mine --data kitti --target tensorrt --out mine_trt\n"
            "eloss quantize --bundle models/mine --precision float16 --target tensorrt\n"
            "eloss quantize --bundle models/mine --keep-float 'head.*' 'stages.0.0.*'"
        ),
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, metavar="KITTI_ROOT", help="default: simulation")
    parser.add_argument(
        "--split",
        metavar="NAME",
        help="list in ImageSets/ to take ranges from (default: train)",
    )
    parser.add_argument(
        "--val-split", metavar="NAME", help="list to judge accuracy on (default: val)"
    )
    parser.add_argument("--precision", choices=("int8", "float16"), help="default: int8")
    parser.add_argument(
        "--target",
        choices=("cpu", "tensorrt"),
        help="what is to run it (default: cpu for int8, tensorrt for float16)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: the bundle's name, precision and target"
    )
    parser.add_argument("--threads", type=positive_int, default=2, metavar="N", help="(default: 2)")
    more = parser.add_argument_group("what is done (defaults in QuantizationSettings)")
    more.add_argument(
        "--scans", type=positive_int, metavar="N", help="to take ranges of activations from"
    )
    more.add_argument(
        "--pairs", type=positive_int, metavar="N", help="simulated scans to compare readings on"
    )
    more.add_argument(
        "--frames", type=positive_int, metavar="N", help="simulated frames, without --data"
    )
    more.add_argument(
        "--keep-float",
        nargs="*",
        metavar="PATTERN",
        help="layers to leave in float32 (default: none, then the head, then the first one too, "
        "until accuracy is kept)",
    )
    more.add_argument(
        "--reduce-range", action="store_true", help="7-bit weights, for CPUs without VNNI"
    )
    more.add_argument(
        "--max-ap-drop", type=seconds, metavar="POINTS", help="that Car may lose (default: 0.5)"
    )
    more.add_argument(
        "--max-drift",
        type=positive_float,
        metavar="SPREADS",
        help="that a layer's reading may move (default: 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Quantizes and say what it cost and gained."""
    from eloss_perception.export.quantization.quantize import Data, quantize_bundle
    from eloss_perception.export.quantization.writer import QuantizationSettings

    if args.data is None and (args.split or args.val_split):
        raise ConfigError("--split and --val-split go with --data only")
    precision = args.precision or "int8"
    target = args.target or ("cpu" if precision == "int8" else "tensorrt")
    settings = settings_from(
        QuantizationSettings,
        {
            "precision": precision,
            "target": target,
            "num_scans": args.scans,
            "num_pairs": args.pairs,
            "num_frames": args.frames,
            "keep_float": None if args.keep_float is None else tuple(args.keep_float),
            "reduce_range": args.reduce_range or None,
            "max_ap_drop": args.max_ap_drop,
            "max_drift": args.max_drift,
        },
    )
    bundle = args.bundle.resolve()
    out = args.out or bundle.with_name(f"{bundle.name}_{precision}_{target}")
    data = Data(args.data, args.split or "train", args.val_split or "val")
    with _bars() as progress:
        quantized = quantize_bundle(args.bundle, out, data, settings, args.threads, progress)
    _report(args.bundle, quantized)
    return 0


@contextmanager
def _bars() -> Iterator[Progress]:
    """One progress bar an activity."""
    with ExitStack() as stack:
        bars: dict[str, Callable[[int], None]] = {}

        def show(activity: str, done: int, total: int) -> None:
            # An activity may come again: where the first network was refused.
            if activity not in bars:
                stack.close()
                bars.clear()
                bars[activity] = stack.enter_context(progress_bar(total, activity))
            bars[activity](done)

        yield show


def _report(source: Path, quantized: Quantized) -> None:
    facts, comparison = quantized.facts, quantized.comparison
    say(f"ranges from {facts.calibration}; accuracy on {facts.evaluation}\n")
    header = ("AP R40, moderate [%]", "float32", facts.precision, "change")
    rows = [
        (metric.replace("_", " "), f"{old:.2f}", f"{new:.2f}", f"{new - old:+.2f}")
        for metric, (old, new) in comparison.average_precision.items()
    ]
    say_table(header, rows)
    say(
        f"\nCar's mean loss {comparison.car_drop:+.2f} points (limit {facts.max_ap_drop:g}); "
        f"largest drift {comparison.largest_drift:.2f} spreads, {comparison.most_drifted} "
        f"(limit {facts.max_drift:g})"
    )
    sizes = [(path / "model.onnx").stat().st_size / 1e6 for path in (source, quantized.bundle.path)]
    say(
        f"size {sizes[0]:.1f} -> {sizes[1]:.1f} MB; network on ONNX Runtime's CPU kernels "
        f"{quantized.before.inference_ms:.0f} -> {quantized.after.inference_ms:.0f} ms"
    )
    say(f"in floating point: {', '.join(facts.float_layers) or 'no layer but the pillar encoder'}")
    say(f"bundle: {quantized.bundle.path}")
