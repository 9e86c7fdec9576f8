# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What several test files share: a ROS domain, and where real KITTI frames are, if anywhere.

KITTI is never part of this repository. `ELOSS_KITTI_ROOT` names the folder that holds the object
set's `training/` and `ImageSets/`; a tracking sequence is looked for in `tracking/` beside it.
Without the variable, a packed subset in `../shared/kitti` is unpacked once into pytest's cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from eloss_perception.replay.demo.processes import reserve_domain

# Before anything starts ROS. Whatever the user's own domain is: a robot, or another test run, may
# be in it, and would be answered by the tests' nodes.
os.environ["ROS_DOMAIN_ID"] = str(reserve_domain())

# A busy machine is no fault of what is tested.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")

_PACKED = Path(__file__).resolve().parents[1].parent / "shared" / "kitti"


@pytest.fixture(scope="session")
def _kitti_roots(pytestconfig: pytest.Config) -> tuple[Path, Path]:
    """Return where the object set and the tracking set would be."""
    if named := os.environ.get("ELOSS_KITTI_ROOT"):
        return Path(named), Path(named).parent / "tracking"
    if not (_PACKED / "unpack.py").is_file():
        pytest.skip("no KITTI frames: set ELOSS_KITTI_ROOT to the folder with training/")
    cache = pytestconfig.cache.mkdir("kitti")  # type: ignore[union-attr]
    unpacked = cache / "unpacked"
    if not unpacked.is_dir():
        # Another test run may unpack at the same time: the first to rename wins.
        partial = Path(tempfile.mkdtemp(dir=cache))
        command = [sys.executable, str(_PACKED / "unpack.py"), str(partial)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        try:
            partial.rename(unpacked)
        except OSError:
            shutil.rmtree(partial)
    return unpacked / "object", unpacked / "tracking"


@pytest.fixture(scope="session")
def kitti_object_root(_kitti_roots: tuple[Path, Path]) -> Path:
    """Return a folder that holds `training/` and `ImageSets/` of real frames, or skip the test."""
    root = _kitti_roots[0]
    if not (root / "training").is_dir() or not (root / "ImageSets").is_dir():
        pytest.skip(f"no KITTI object set: {root} lacks training/ or ImageSets/")
    return root


@pytest.fixture(scope="session")
def kitti_tracking_root(_kitti_roots: tuple[Path, Path]) -> Path:
    """Return a folder that holds `training/` with tracking sequence 0001, or skip the test."""
    root = _kitti_roots[1]
    if not (root / "training" / "velodyne" / "0001").is_dir():
        pytest.skip(f"no KITTI tracking sequence 0001 in {root}")
    return root
