# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The `eloss` command: the offline tools, and ROS tools for where ROS has none installed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from eloss_perception import __version__
from eloss_perception.commands import (
    bag,
    benchmark,
    calibrate,
    corrupt,
    demo,
    detect,
    engine,
    evaluate,
    export,
    health,
    quantize,
    replay,
    simulate,
    train,
)
from eloss_perception.errors import ElossError

COMMANDS = (
    *(simulate, corrupt, detect, bag, replay, evaluate, train, export, calibrate, quantize, engine),
    *(health, benchmark, demo),
)

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it.

# Top-level module that was not found -> what brings it.
_PROVIDERS = {
    "cuda": "pip install 'eloss_perception[tensorrt]'",
    "PIL": "pip install 'eloss_perception[viz]'",
    "matplotlib": "pip install 'eloss_perception[viz]'",
    "mcap": "pip install 'eloss_perception[bags]'",
    "onnx": "pip install 'eloss_perception[train]'",
    "onnxscript": "pip install 'eloss_perception[train]'",
    "openvino": "pip install 'eloss_perception[openvino]'",
    "rosbags": "pip install 'eloss_perception[bags]'",
    "torch": "pip install 'eloss_perception[train]'",
    "tensorboard": "pip install 'eloss_perception[train]'",
    "tqdm": "pip install 'eloss_perception[train]'",
}
_ROS_MODULES = ("ament_index_python", "launch", "rclpy", "rosgraph_msgs", "rosbag2_py")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `eloss` with all its subcommands."""
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
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `eloss` and return its exit status: 0, 2 for an expected error, 130 for Ctrl-C."""
    # numpy's own threads go on spinning after a matrix product, on the cores of the network's:
    # 50 ms a frame of PointPillars. Read when numpy is first imported, which is later than this.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
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
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except SystemError as error:
        # What becomes of a Ctrl-C in the moment when compiled code returns to Python.
        if not _came_from_interrupt(error):
            raise
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has left; without this Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _came_from_interrupt(error: BaseException | None) -> bool:
    """Whether a Ctrl-C is anywhere behind an error; one call may wrap the next one's."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _fail(message: str) -> int:
    """Print an error as one line, whatever it is made of."""
    print(f"eloss: error: {' '.join(message.split())}", file=sys.stderr)
    return EXIT_ERROR


def _missing_package(error: ModuleNotFoundError) -> str | None:
    """Return which package to install, or None where a module of our own is missing (a bug)."""
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


if __name__ == "__main__":
    sys.exit(main())
