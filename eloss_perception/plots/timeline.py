# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Health over a drive: score, threshold and likely causes, the level as a strip, boxes below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox, TransformedBbox

from eloss_perception.plots.charts import HEADING_PX, new_figure, pixels_of, write_heading
from eloss_perception.plots.style import (
    BAND_EDGE,
    LEVEL_COLOURS,
    LEVEL_NAMES,
    PANEL,
    TEXT,
    Colour,
    Picture,
    hex_colour,
    mix,
)

# start_s, end_s, how the input was corrupted.
Window: TypeAlias = tuple[float, float, str]

_WINDOW_COLOUR: Colour = (150, 120, 220)
_WINDOW_TEXT: Colour = (200, 184, 245)
_THRESHOLD_COLOUR: Colour = (250, 204, 21)
# The score axis reaches at least this far beyond the threshold.
_MIN_RANGE_RATIO = 2.0
LEFT_PX, RIGHT_PX, BOTTOM_PX = 62, 18, 42
"""Margins around the axes [px]."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """The health of a drive.

    Attributes:
        times_s: T times [s], ascending.
        scores: (T,) score of each frame [points of AP]; a non-finite one leaves a gap.
        levels: (T,) health levels.
        threshold: Score from which a frame is anomalous.
        num_boxes: (T,) number of boxes, or None.
        windows: Spans in which the input was corrupted.
        smoothed: (T,) score averaged over time, which the level follows, or None.
        causes: (T,) likely cause of each frame in words; empty while normal. Or None.

    Raises:
        ValueError: If the lengths differ or there is no frame.
    """

    times_s: Sequence[float]
    scores: Sequence[float]
    levels: Sequence[int]
    threshold: float
    num_boxes: Sequence[int] | None = None
    windows: Sequence[Window] = ()
    smoothed: Sequence[float] | None = None
    causes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        values = (self.scores, self.levels, self.num_boxes, self.smoothed, self.causes)
        lengths = {len(self.times_s), *(len(v) for v in values if v is not None)}
        if len(lengths) != 1 or not len(self.times_s):
            raise ValueError(
                f"a timeline needs as many values of each kind, at least one: {lengths}"
            )

    @property
    def period_s(self) -> float:
        """The usual time between two frames (their median)."""
        steps = np.diff(self.times_s)
        median = float(np.median(steps)) if len(steps) else 0.0
        return median if median > 0.0 else 0.1

    def ends_s(self) -> npt.NDArray[np.float64]:
        """Returns (T,) when each frame ends: at the next one, or a period later before a gap."""
        times = np.array(self.times_s, float)
        following = np.append(times[1:], np.inf)
        is_gap = following - times > 1.8 * self.period_s
        return np.where(is_gap, times + self.period_s, following)

    def spells(self) -> list[tuple[int, int, str]]:
        """Returns first frame, end and cause of each run of frames with the same cause."""
        spells: list[tuple[int, int, str]] = []
        for i, cause in enumerate(self.causes or []):
            if spells and spells[-1][1] == i and spells[-1][2] == cause:
                spells[-1] = (spells[-1][0], i + 1, cause)
            elif cause:
                spells.append((i, i + 1, cause))
        return spells


def render_timeline(
    timeline: Timeline,
    *,
    title: str = "Entropy health",
    note: str = "",
    size: tuple[int, int] = (1100, 480),
) -> Picture:
    """Draws the health of a drive over time: score, threshold, likely causes, level and boxes.

    Args:
        timeline: Scores, levels and what else is known of the drive.
        title: Text at the top left.
        note: Smaller text at the top right.
        size: Width and height [px].

    Returns:
        (height, width, 3) uint8 RGB.
    """
    with new_figure(size) as figure:
        write_heading(figure, title, note)
        axes = _draw_timeline(figure, timeline, top_px=HEADING_PX)
        for part, label in zip(axes, ("Score [AP points]", "Level", "Boxes"), strict=False):
            part.set_ylabel(label)
            part.yaxis.set_label_coords(-40 / part.bbox.width, 0.5)
        axes[1].yaxis.label.set(rotation=0, va="center")
        levels = sorted(set(map(int, timeline.levels)))
        patches = [Patch(color=hex_colour(LEVEL_COLOURS[k]), label=LEVEL_NAMES[k]) for k in levels]
        figure.legend(
            handles=patches, loc="lower right", ncols=4, frameon=False, handlelength=1, borderpad=0
        )
        return pixels_of(figure)


def render_timeline_strip(
    timeline: Timeline, size: tuple[int, int]
) -> tuple[Picture, Picture, npt.NDArray[np.int64]]:
    """Draws a timeline for an animation, which reveals it from left to right.

    Returns:
        The whole timeline and its bare axes, (height, width, 3) uint8 RGB each, and (T,) the
        column [px] at which each frame ends.
    """
    pictures = []
    for is_bare in (False, True):
        with new_figure(size) as figure:
            figure.set_facecolor(hex_colour(PANEL))
            axes = _draw_timeline(figure, timeline, top_px=12, is_bare=is_bare)[0]
            pictures.append(pixels_of(figure))
    ends = np.column_stack([timeline.ends_s(), np.zeros(len(timeline.times_s))])
    columns = axes.transData.transform(ends)[:, 0]
    return pictures[0], pictures[1], np.round(columns).astype(np.int64)


def _draw_timeline(figure: Any, timeline: Timeline, *, top_px: float, is_bare: bool = False) -> Any:
    """Draws score, level and boxes over one time axis; returns their axes, bare without data."""
    width, height = figure.get_size_inches() * figure.dpi
    ratios = [1.0, 0.1] if timeline.num_boxes is None else [1.0, 0.1, 0.42]
    rows = figure.subplots(
        len(ratios),
        1,
        sharex=True,
        gridspec_kw={
            "height_ratios": ratios,
            "hspace": 0.14,
            "left": LEFT_PX / width,
            "right": 1 - RIGHT_PX / width,
            "top": 1 - top_px / height,
            "bottom": BOTTOM_PX / height,
        },
    )
    starts, ends = np.array(timeline.times_s, float), timeline.ends_s()
    rows[0].set_xlim(starts[0], max(ends[-1], starts[0] + 0.1))
    _draw_windows(rows, timeline)
    _draw_scores(rows[0], timeline, is_bare=is_bare)
    colours = [hex_colour(LEVEL_COLOURS[int(level)]) for level in timeline.levels]
    if not is_bare:
        bar = {"align": "edge", "antialiased": False}
        rows[1].bar(starts, 1.0, ends - starts, color=colours, **bar)
    rows[1].set(ylim=(0, 1), yticks=[])
    if timeline.num_boxes is not None:
        counts, shown = np.array(timeline.num_boxes), 0 if is_bare else 1
        gap = 0.1 * (ends - starts)
        rows[2].bar(
            starts + gap,
            shown * counts,
            ends - starts - 2 * gap,
            align="edge",
            color=hex_colour(BAND_EDGE),
        )
        rows[2].set_ylim(0, 1.1 * max(1, counts.max()))
        rows[2].yaxis.get_major_locator().set_params(integer=True, nbins=3)
    rows[-1].set_xlabel("Time [s]")
    for axes in rows[:-1]:
        axes.tick_params(bottom=False)
    for axes in rows:
        axes.grid(visible=False, axis="x")
    return rows


def _draw_windows(rows: Sequence[Any], timeline: Timeline) -> None:
    first, last = rows[0].get_xlim()
    for start, end, text in timeline.windows:
        start, end = max(start, first), min(end, last)
        if end <= start:
            continue  # before the first frame or after the last
        for axes in rows:
            axes.axvspan(start, end, color=hex_colour(_WINDOW_COLOUR), alpha=0.14, linewidth=0)
        top = rows[0]
        top.plot(
            [start, end],
            [1, 1],
            transform=top.get_xaxis_transform(),
            clip_on=False,
            color=hex_colour(_WINDOW_COLOUR),
            linewidth=2,
            solid_capstyle="butt",
        )
        name = top.annotate(
            text,
            (start, 1.0),
            xycoords=top.get_xaxis_transform(),
            xytext=(4, -3),
            textcoords="offset points",
            va="top",
            size=8.5,
            color=hex_colour(_WINDOW_TEXT),
            annotation_clip=False,
        )
        span = TransformedBbox(Bbox([[start, 0.0], [end, 1.0]]), top.get_xaxis_transform())
        name.set_clip_on(True)
        name.set_clip_box(span)


def _draw_scores(axes: Any, timeline: Timeline, *, is_bare: bool) -> None:
    """Draws each score as a dot, the average as a line, and the likely causes above them."""
    scores = np.array(timeline.scores, float)
    line = scores if timeline.smoothed is None else np.array(timeline.smoothed, float)
    finite = [v for v in np.concatenate([scores, line]) if np.isfinite(v)]
    top = max([_MIN_RANGE_RATIO * timeline.threshold, *finite])
    bottom = min([0.0, *finite])
    # Window names and causes have a line each at the top.
    axes.set_ylim(bottom, bottom + ((top - bottom) or 1.0) * 1.45)
    colour = hex_colour(_THRESHOLD_COLOUR)
    axes.axhline(timeline.threshold, color=colour, linestyle=(0, (4, 3)), linewidth=1.2)
    # At the right end, above the line: scores below the threshold do not reach it there.
    axes.annotate(
        "threshold",
        (1.0, timeline.threshold),
        xycoords=axes.get_yaxis_transform(),
        xytext=(-3, 2),
        textcoords="offset points",
        ha="right",
        size=8,
        color=colour,
    )
    if is_bare:
        return
    starts, ends = np.array(timeline.times_s, float), timeline.ends_s()
    middles = starts + 0.5 * timeline.period_s
    # A missing frame interrupts the line, as a missing score does.
    gaps = np.flatnonzero(ends[:-1] < starts[1:]) + 1
    line = np.where(np.isfinite(line), line, np.nan)
    axes.plot(
        np.insert(middles, gaps, np.nan),
        np.insert(line, gaps, np.nan),
        color=hex_colour(mix(PANEL, TEXT, 0.5)),
        linewidth=1.4,
    )
    colours = [hex_colour(LEVEL_COLOURS[int(level)]) for level in timeline.levels]
    is_finite = np.isfinite(scores)
    axes.scatter(
        middles[is_finite],
        scores[is_finite],
        s=12,
        zorder=3,
        linewidth=0,
        color=[c for c, shown in zip(colours, is_finite, strict=True) if shown],
    )
    pixels_per_s = axes.bbox.width / np.ptp(axes.get_xlim())
    for first, end, cause in timeline.spells():
        left, right = starts[first], ends[end - 1]
        if (right - left) * pixels_per_s > 6.2 * len(cause):  # long enough for the words
            axes.annotate(
                cause,
                (0.5 * (left + right), 1.0),
                xycoords=axes.get_xaxis_transform(),
                xytext=(0, -15),
                textcoords="offset points",
                ha="center",
                va="top",
                size=8.5,
            )
