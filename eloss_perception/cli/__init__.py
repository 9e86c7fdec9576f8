# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `eloss` command: the offline tools, and ROS tools for where ROS has none installed.

Each subcommand is a file here: `add_parser` declares it, `run` does it. At the top of these files
only the standard library is imported, so that `eloss --help` is instant.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import import_module

from eloss_perception import __version__
from eloss_perception.errors import ElossError
from eloss_perception.interrupts import StopSignal

COMMANDS = (
    "simulate",
    "corrupt",
    "detect",
    "bag",
    "replay",
    "evaluate",
    "train",
    "export",
    "calibrate",
    "quantize",
    "engine",
    "seal",
    "health",
    "benchmark",
    "demo",
)
"""Each is a module beside this one."""

EXIT_ERROR = 2

# Top-level module that was not found -> what brings it.
_PROVIDERS = {
    "cuda": "pip install 'eloss_perception[tensorrt]'",
    "PIL": "pip install 'eloss_perception[viz]'",
    "matplotlib": "pip install 'eloss_perception[viz]'",
    "mcap": "pip install 'eloss_perception[bags]'",
    "onnx": "pip install 'eloss_perception[train]'",
    "onnxscript": "pip install 'eloss_perception[train]'",
    "openvino": "pip install 'eloss_perception[openvino]'",
    "rich": "pip install rich",
    "rosbags": "pip install 'eloss_perception[bags]'",
    "torch": "pip install 'eloss_perception[train]'",
    "tensorboard": "pip install 'eloss_perception[train]'",
    "tqdm": "pip install 'eloss_perception[train]'",
}
_ROS_MODULES = ("ament_index_python", "launch", "rclpy", "rosgraph_msgs", "rosbag2_py")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `eloss` with all its subcommands."""
    parser = argparse.ArgumentParser(
        prog="eloss",
        usage="eloss [-h] [--version] COMMAND ...",
        description="LiDAR 3D object detection that reports when its input has gone bad.",
        epilog="`eloss COMMAND --help` explains a command and shows an example.",
    )
    parser.add_argument("--version", action="version", version=f"eloss {__version__}")
    # As long as the longest name, or argparse would break the line after that one.
    subparsers = parser.add_subparsers(
        dest="command", prog="eloss", metavar="COMMAND ...", required=True
    )
    for name in COMMANDS:
        import_module(f"eloss_perception.cli.{name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `eloss`.

    Args:
        argv: What follows `eloss`; None for the command line of this process, which then ends:
            signals stay noted until it is gone.

    Returns:
        Exit status: 0, 2 for an expected error, 128 + n after signal n.
    """
    # numpy's own threads go on spinning after a matrix product, on the cores of the network's:
    # 50 ms a frame of PointPillars. Read when numpy is first imported, which is later than this.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with ExitStack() as stack:
        stop = stack.enter_context(StopSignal())
        _prepare_output()
        try:
            status = _run(argv)
        except KeyboardInterrupt as interrupt:
            print(f"eloss: {str(interrupt) or 'interrupted'}", file=sys.stderr)
            status = stop.exit_status
        if argv is None:
            stack.pop_all()
        # A signal may have come too late to cut anything short; what follows in a script has to
        # know of it all the same.
        return status if stop.number is None else stop.exit_status


def _run(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except ElossError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        hint = _missing_package(error)
        if hint is None:
            raise
        return _fail(hint)
    except BrokenPipeError:
        # The reader (`| head`) has left.
        _close_output()
        return 0
    except OSError as error:
        # What has no guard of its own: a full disk behind `>`, a file that may not be read.
        _close_output()
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except UnicodeDecodeError as error:
        return _fail(f"a text file is not in UTF-8: {error}")
    except MemoryError as error:
        return _fail(f"out of memory: {error}")


def _close_output() -> None:
    """Sends output that cannot be written nowhere, or Python would complain again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _prepare_output() -> None:
    """Makes printing work without a stream, and with characters that the stream lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _fail(message: str) -> int:
    """Prints an error as one line."""
    print(f"eloss: error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_ERROR


def _missing_package(error: ModuleNotFoundError) -> str | None:
    """Returns which package to install, or None where a module of our own is missing (a bug)."""
    root = (error.name or "").split(".")[0]
    if root in _PROVIDERS:
        return f"this command needs the Python package {root}: {_PROVIDERS[root]}"
    if root in _ROS_MODULES or root.endswith("_msgs"):
        return (
            f"this command needs ROS 2 ({root} not found): source a ROS 2 environment, "
            "or use `./run eloss ...` in the source tree"
        )
    if (error.name or "").startswith("eloss_perception.msg"):
        return "the messages are not built: run `colcon build`, or use `./run eloss ...`"
    return None
