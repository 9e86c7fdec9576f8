# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Names of 0.4 stand for the modules of today, and are the same modules."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from eloss_perception.moved import _MOVED, new_name


@pytest.mark.parametrize("old", sorted(_MOVED))
def test_an_old_name_is_the_module_of_the_new_one(old: str) -> None:
    new = new_name(f"eloss_perception.{old}")
    assert new is not None
    for package in ("torch", "onnx", "PIL", "rosbags", "rclpy"):
        if package not in sys.modules:
            pytest.importorskip(package)
    sys.modules.pop(f"eloss_perception.{old}", None)
    with pytest.warns(DeprecationWarning, match="goes with 0.6"):
        module = importlib.import_module(f"eloss_perception.{old}")
    today = importlib.import_module(new)
    assert module is today or (module.__doc__ is None and hasattr(today, "__path__"))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("from eloss_perception.core import scan_statistics as m", "health.scan_statistics"),
        ("from eloss_perception.core.boxes import Boxes3D as m", "detection.boxes"),
        ("from eloss_perception.kitti.labels import read_labels as m", "datasets.kitti.labels"),
        ("import eloss_perception.core.pillar_kernels as m", "detection.pillar_kernels"),
        ("from eloss_perception.kitti import KittiDataset as m", "datasets.kitti.dataset"),
        ("from eloss_perception.bags import messages as m", "datasets.bags.messages"),
    ],
)
def test_each_form_of_import_works_in_a_fresh_interpreter(statement: str, said: str) -> None:
    code = f"{statement}; print(getattr(m, '__module__', m.__name__))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == f"eloss_perception.{said}", result.stderr


def test_what_has_not_moved_is_left_alone() -> None:
    assert new_name("eloss_perception.runtime.bundle") is None
    assert new_name("eloss_perception.training.trainer") is None
    assert new_name("numpy.core") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("eloss_perception.core.no_such_module")
