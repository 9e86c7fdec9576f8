# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One frame of the demo's animation: the scan from above, the profile and the health so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.plots.bev import Extent, render_bev
from eloss_perception.plots.canvas import Area, Canvas, shorten
from eloss_perception.plots.files import save_animation, save_png
from eloss_perception.plots.health import draw_level
from eloss_perception.plots.profile import Profile, draw_deviations
from eloss_perception.plots.style import MUTED, PANEL, TEXT, Picture
from eloss_perception.plots.timeline import Timeline, draw_timeline

__all__ = ["Profile", "Timeline", "render_frame", "save_animation", "save_png"]

# x_min, y_min, x_max, y_max [m]: nearer than a single picture, since a frame gives it less room.
FRAME_EXTENT: Extent = (-6.0, -32.0, 50.0, 32.0)
_BEV_SHARE = 0.68
_TIMELINE_PX = 170
_BAND = 2.0
_DEVIATION_LIMIT = 8.0


def render_frame(
    points: NDArray[np.float32],
    boxes: Boxes3D,
    class_names: Sequence[str],
    profile: Profile,
    timeline: Timeline,
    index: int,
    *,
    title: str = "",
    condition: str = "",
    extent: Extent = FRAME_EXTENT,
    size: tuple[int, int] = (960, 720),
) -> Picture:
    """Compose bird's-eye view, entropy profile and timeline into one picture.

    Args:
        points: (N, 4) float32 x, y, z [m], intensity in [0, 1]; LiDAR frame.
        boxes: Detections of this frame.
        class_names: Name of each label.
        profile: Entropies of this frame and what is normal.
        timeline: Health of the whole drive; frames after `index` are not shown.
        index: This frame's place in the timeline.
        title: Text over the bird's-eye view.
        condition: What is wrong with the input at present (for example "Fog"); empty for nothing.
        extent: x_min, y_min, x_max, y_max [m] that must be visible.
        size: Width and height [px].

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: If `index` is outside the timeline or the extent is empty.
    """
    if not 0 <= index < len(timeline.times_s):
        raise ValueError(f"frame {index} of a timeline of {len(timeline.times_s)} frames")
    width, height = size
    bev_width, upper = round(width * _BEV_SHARE), height - _TIMELINE_PX
    time_s = timeline.times_s[index] - timeline.times_s[0]
    bev = render_bev(
        points,
        boxes,
        class_names,
        extent=extent,
        size=(bev_width, upper),
        title=title,
        subtitle=f"{time_s:.1f} s",
    )
    picture = np.empty((height, width, 3), np.uint8)
    picture[:upper, :bev_width] = bev
    side = _draw_side(width - bev_width, upper, profile, timeline, index, condition)
    picture[:upper, bev_width:] = side
    strip = Canvas(width, _TIMELINE_PX, PANEL, scale=2)
    draw_timeline(strip, Area(14, 10, width - 14, _TIMELINE_PX - 6), timeline, now=index)
    picture[upper:] = strip.picture()
    return picture


def _draw_side(
    width: int, height: int, profile: Profile, timeline: Timeline, index: int, condition: str
) -> Picture:
    """Draw level, score and the deviations of the layers in the column beside the scan."""
    canvas = Canvas(width, height, PANEL, scale=2)
    level = timeline.levels[index]
    score = (timeline.scores if timeline.smoothed is None else timeline.smoothed)[index]
    canvas.text((16, 19), "Entropy health", 16, TEXT, "lm")
    draw_level(canvas, Area(width - 88, 7, width - 14, 31), level)
    canvas.text((16, 58), f"{score:.1f}", 30, TEXT, "lm")
    canvas.text((width - 14, 52), "points of AP at risk", 12, MUTED, "rm")
    canvas.text((width - 14, 68), f"threshold {timeline.threshold:g}", 12, MUTED, "rm")
    note = f"Input: {condition}" if condition else "Input: clean"
    canvas.text((16, 92), shorten(note, 13, width - 30), 13, MUTED, "lm")
    top = 118
    if timeline.causes is not None:
        cause = timeline.causes[index] or "normal"
        canvas.text((16, 112), shorten(f"Judged: {cause}", 13, width - 30), 13, TEXT, "lm")
        top += 20
    bars = Area(16, top, width - 14, height - 10)
    draw_deviations(canvas, bars, profile, level, _BAND, with_names=False, limit=_DEVIATION_LIMIT)
    return canvas.picture()
