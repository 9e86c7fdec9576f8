# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which bundle a row measures, and on which backend."""

from __future__ import annotations

from pathlib import Path

from benchmarks.speed.row import NotMeasuredError
from benchmarks.speed.settings import BenchmarkSettings


def existing_bundle(path: Path, what: str) -> Path:
    """Returns a bundle's folder.

    Raises:
        NotMeasuredError: There is none.
    """
    if not path.is_dir():
        raise NotMeasuredError(f"no {what}: name one with the options")
    return path


def light_bundle(settings: BenchmarkSettings) -> Path:
    """The light bundle that is measured."""
    from eloss_perception.runtime.bundle import default_bundle_path

    return settings.bundle or default_bundle_path()


def node_backend(settings: BenchmarkSettings) -> str:
    """The light bundle's backend: the one that the node takes by itself, unless another is set."""
    from eloss_perception.ros.node_settings import DetectorNodeSettings

    return settings.backend or DetectorNodeSettings().backend
