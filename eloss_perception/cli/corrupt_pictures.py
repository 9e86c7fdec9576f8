# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pictures that `eloss corrupt` draws; apart, since they alone need Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from eloss_perception.errors import ConfigError
from eloss_perception.interrupts import check_interrupt
from eloss_perception.plots.animation import save_animation
from eloss_perception.plots.bev import HEIGHT_RANGE
from eloss_perception.plots.comparisons import (
    ROAD_HEIGHT_RANGE,
    CorruptionTile,
    render_before_after,
    render_corruption_grid,
)
from eloss_perception.plots.style import Picture, save_png
from eloss_perception.simulation.corruptions import CORRUPTIONS, PointArray, corrupt
from eloss_perception.simulation.schedule import CorruptionWindow

# These change brightness before anything else, so that is what their colours show.
_BRIGHTNESS = frozenset(
    {"wet_ground", "rain", "intensity_noise", "intensity_scale", "intensity_saturated"}
)
# A picture for a page.
_MAX_BYTES = 690_000


def write_before_after(
    path: Path, before: PointArray, after: PointArray, windows: Sequence[CorruptionWindow]
) -> None:
    """Draws a scan from above before and after; colours are brightness if that is what changed.

    Raises:
        ConfigError: The file's ending is neither .png nor .webp.
    """
    changes_brightness = all(window.name in _BRIGHTNESS for window in windows)
    title = ", ".join(map(str, windows))
    _save(path, render_before_after(before, after, title, _colour_by(changes_brightness)))


def write_gallery(
    path: Path, points: PointArray, previous: PointArray | None, severity: int, seed: int
) -> None:
    """Draws a scan under every corruption, all at one severity.

    Args:
        path: Ends in .png or .webp.
        points: (N, 4) float32 x, y, z [m], intensity in [0, 1]; LiDAR frame.
        previous: The scan before it, if there was one.
        severity: 1 to 5.
        seed: Draws what is random.

    Raises:
        ConfigError: The file's ending is neither .png nor .webp.
    """
    note = f"{len(points):,} points, colours: height -2 to 1.2 m"
    tiles = [CorruptionTile("clean", "", note, points)]
    for name, corruption in CORRUPTIONS.items():
        check_interrupt()
        is_mounting = corruption.kind == "mounting"
        tiles.append(
            CorruptionTile(
                name,
                corruption.kind + (f", severity {severity}" if corruption.has_degree else ""),
                _note(name, is_mounting),
                corrupt(points, name, severity, seed, previous),
                _colour_by(name in _BRIGHTNESS),
                ROAD_HEIGHT_RANGE if is_mounting else HEIGHT_RANGE,
            )
        )
    _save(path, render_corruption_grid(tiles))


def _note(name: str, is_mounting: bool) -> str:
    if is_mounting:
        return "colours: height from {:g} to {:g} m".format(*ROAD_HEIGHT_RANGE)
    if name in _BRIGHTNESS:
        return "colours: intensity"
    return ""


def _colour_by(brightness: bool) -> Literal["height", "intensity"]:
    return "intensity" if brightness else "height"


def _save(path: Path, picture: Picture) -> None:
    if path.suffix == ".webp":
        save_animation(path, [picture], 1.0, max_bytes=_MAX_BYTES)
    elif path.suffix == ".png":
        save_png(path, picture)
    else:
        raise ConfigError(f"a picture is .png or .webp, not '{path.suffix}' ({path})")
