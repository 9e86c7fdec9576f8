# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Health over a drive: score, threshold and likely causes, the level as a strip, boxes below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from eloss_perception.plots.axes import Scale, label
from eloss_perception.plots.canvas import Area, Canvas, shorten, text_width
from eloss_perception.plots.style import (
    AXIS,
    BAND_EDGE,
    GRID,
    LEVEL_COLOURS,
    MUTED,
    PANEL,
    TEXT,
    Colour,
    mix,
)

# start_s, end_s, what was wrong with the input.
Window: TypeAlias = tuple[float, float, str]

_TICK_PX = 12
_GUTTER_PX = 46
_STRIP_PX = 12
_WINDOW_COLOUR: Colour = (150, 120, 220)
_THRESHOLD_COLOUR: Colour = (250, 204, 21)
_CAUSE_PX = 12
# The plot reaches at least this far beyond the threshold.
_MIN_RANGE_RATIO = 2.0


class Timeline:
    """The health of a drive, checked and as plain numbers.

    Args:
        times_s: T times [s], ascending.
        scores: (T,) score of each frame [points of AP]; a non-finite one leaves a gap.
        levels: (T,) health levels.
        threshold: Score from which a frame is odd.
        num_boxes: (T,) number of boxes, or None.
        windows: Spans in which the input was corrupted.
        smoothed: (T,) score averaged over time, which the level follows, or None.
        causes: (T,) what each frame is like, in words; empty while normal. Or None.

    Raises:
        ValueError: If the lengths differ or there is no frame.
    """

    def __init__(
        self,
        times_s: Sequence[float],
        scores: Sequence[float],
        levels: Sequence[int],
        threshold: float,
        num_boxes: Sequence[int] | None = None,
        windows: Sequence[Window] = (),
        smoothed: Sequence[float] | None = None,
        causes: Sequence[str] | None = None,
    ) -> None:
        lengths = {len(times_s), len(scores), len(levels)}
        lengths |= {len(values) for values in (num_boxes, smoothed, causes) if values is not None}
        if len(lengths) != 1 or not len(times_s):
            raise ValueError(
                f"a timeline needs as many values of each kind, at least one: {lengths}"
            )
        self.times_s = [float(t) for t in times_s]
        self.scores = [float(s) for s in scores]
        self.levels = [int(level) for level in levels]
        self.threshold = float(threshold)
        self.num_boxes = None if num_boxes is None else [int(n) for n in num_boxes]
        self.smoothed = None if smoothed is None else [float(s) for s in smoothed]
        self.causes = None if causes is None else [str(cause) for cause in causes]
        self.windows = [(float(start), float(end), str(text)) for start, end, text in windows]

    @property
    def period_s(self) -> float:
        """The usual time between two frames (their median)."""
        steps = sorted(b - a for a, b in zip(self.times_s, self.times_s[1:], strict=False))
        return steps[len(steps) // 2] if steps and steps[len(steps) // 2] > 0 else 0.1

    def score_range(self) -> tuple[float, float]:
        """Return the lowest and the highest score that the plot shows."""
        finite = [s for s in [*self.scores, *(self.smoothed or [])] if math.isfinite(s)]
        top = max([_MIN_RANGE_RATIO * self.threshold, *finite])
        return min([0.0, *finite]), (top * 1.15 if top > 0 else 1.0)

    def spells(self, end: int) -> list[tuple[int, int, str]]:
        """Return first frame, end and cause of each spell with the same one, before frame `end`."""
        spells: list[tuple[int, int, str]] = []
        for i, cause in enumerate((self.causes or [])[:end]):
            if spells and spells[-1][1] == i and spells[-1][2] == cause:
                spells[-1] = (spells[-1][0], i + 1, cause)
            elif cause:
                spells.append((i, i + 1, cause))
        return spells


def draw_timeline(canvas: Canvas, area: Area, timeline: Timeline, now: int | None = None) -> None:
    """Draw score, level strip and number of boxes with a common time axis.

    Args:
        canvas: Where to draw.
        area: The region to fill, axis labels included.
        timeline: What to draw.
        now: Index of the current frame: what follows it is left out and a cursor marks it.
    """
    start, end = timeline.times_s[0], timeline.times_s[-1] + timeline.period_s
    left, right = area.left + _GUTTER_PX, area.right
    time = Scale(start, end, left, right)
    axis_top = area.bottom - 20
    boxes_height = 0.0 if timeline.num_boxes is None else 0.26 * (axis_top - area.top - 18)
    boxes = Area(left, axis_top - boxes_height, right, axis_top)
    gap = 12.0 if boxes_height else 0.0
    strip = Area(left, boxes.top - gap - _STRIP_PX, right, boxes.top - gap)
    words = Area(left, area.top + 18, right, area.top + 18 + (16 if timeline.causes else 0))
    plot = Area(left, words.bottom, right, strip.top - 6)
    shown = len(timeline.times_s) if now is None else now + 1
    _draw_windows(canvas, Area(left, area.top, right, axis_top), time, timeline.windows)
    _draw_scores(canvas, plot, time, timeline, shown)
    _draw_causes(canvas, words, time, timeline, shown)
    for i in range(shown):
        begin, stop = time(timeline.times_s[i]), time(_end_of(timeline, i))
        cell = Area(begin, strip.top, stop, strip.bottom)
        canvas.rectangle(cell, LEVEL_COLOURS[timeline.levels[i]])
    if timeline.num_boxes is not None:
        _draw_counts(canvas, boxes, time, timeline, shown)
    if now is not None:
        x = time(timeline.times_s[now] + 0.5 * timeline.period_s)
        canvas.line([(x, plot.top), (x, axis_top)], TEXT, 1.2)
    canvas.line([(left, axis_top), (right, axis_top)], AXIS)
    marks = [t for t in time.ticks(8) if t - start >= 0]
    for t in marks:
        canvas.line([(time(t), axis_top), (time(t), axis_top + 4)], AXIS)
        unit = " s" if t == marks[-1] else ""
        canvas.text(
            (min(time(t), right - 12), axis_top + 7), label(t) + unit, _TICK_PX, MUTED, "ma"
        )


def _draw_windows(canvas: Canvas, area: Area, time: Scale, windows: Sequence[Window]) -> None:
    for start, end, text in windows:
        # A gap at the end keeps apart two windows that touch.
        span = Area(time(start), area.top, time(end) - 1.0, area.bottom)
        if span.width < 1.0:
            continue  # Before the first frame or after the last.
        canvas.rectangle(span, _WINDOW_COLOUR, 0.14)
        canvas.rectangle(Area(span.left, span.top, span.right, span.top + 2), _WINDOW_COLOUR)
        name = shorten(text, _TICK_PX, span.width - 8)
        canvas.text((span.left + 5, span.top + 4), name, _TICK_PX, (200, 184, 245), "la")


def _draw_scores(canvas: Canvas, plot: Area, time: Scale, timeline: Timeline, shown: int) -> None:
    scale = Scale(*timeline.score_range(), plot.bottom, plot.top)
    canvas.text((plot.left - _GUTTER_PX, plot.top - 17), "Score", _TICK_PX, MUTED, "la")
    for tick in scale.ticks(max(2, int(plot.height / 40))):
        canvas.line([(plot.left, scale(tick)), (plot.right, scale(tick))], GRID)
        canvas.text((plot.left - 8, scale(tick)), label(tick), _TICK_PX, MUTED, "rm")
    y = scale(timeline.threshold)
    canvas.dashed_line((plot.left, y), (plot.right, y), mix(PANEL, _THRESHOLD_COLOUR, 0.8), 1.2, 4)
    # At the right end, above the line: readings below the threshold do not reach it there.
    canvas.text((plot.right - 4, y - 3), "threshold", 11, _THRESHOLD_COLOUR, "rs")
    _draw_line(canvas, time, scale, timeline, shown)
    half = 0.5 * timeline.period_s
    spacing = (time.end_px - time.start_px) / max(1, len(timeline.times_s))
    radius = min(3.2, max(1.4, 0.32 * spacing))
    for i in range(shown):
        if math.isfinite(timeline.scores[i]):
            centre = (time(timeline.times_s[i] + half), scale(timeline.scores[i]))
            canvas.disc(centre, radius, LEVEL_COLOURS[timeline.levels[i]])


def _draw_line(canvas: Canvas, time: Scale, scale: Scale, timeline: Timeline, shown: int) -> None:
    """Draw the averaged scores as a line, or the scores themselves where there is no average."""
    values = timeline.scores if timeline.smoothed is None else timeline.smoothed
    run: list[tuple[float, float]] = []
    half = 0.5 * timeline.period_s
    for i in range(shown):
        if math.isfinite(values[i]):
            run.append((time(timeline.times_s[i] + half), scale(values[i])))
        if not math.isfinite(values[i]) or i == shown - 1 or _gap_after(timeline, i):
            if len(run) > 1:
                canvas.line(run, mix(PANEL, TEXT, 0.5), 1.4)
            run = []


def _draw_causes(canvas: Canvas, area: Area, time: Scale, timeline: Timeline, shown: int) -> None:
    """Write what the input is like over each spell that is long enough for the words."""
    for first, end, cause in timeline.spells(shown):
        left, right = time(timeline.times_s[first]), time(_end_of(timeline, end - 1))
        if right - left > text_width(cause, _CAUSE_PX) + 8:
            canvas.text((0.5 * (left + right), area.top), cause, _CAUSE_PX, TEXT, "ma")


def _draw_counts(canvas: Canvas, area: Area, time: Scale, timeline: Timeline, shown: int) -> None:
    counts = timeline.num_boxes or []
    top = max([1, *counts])
    scale = Scale(0.0, top * 1.1, area.bottom, area.top)
    canvas.text((area.left - 8, scale(top)), label(top), _TICK_PX, MUTED, "rm")
    canvas.text((area.left - _GUTTER_PX, area.bottom - 2), "Boxes", _TICK_PX, MUTED, "ls")
    for i in range(shown):
        begin, stop = time(timeline.times_s[i]), time(_end_of(timeline, i))
        gap = 0.12 * (stop - begin) if stop - begin > 3 else 0.0
        canvas.rectangle(
            Area(begin + gap, scale(counts[i]), stop - gap, area.bottom), BAND_EDGE, 0.9
        )


def _end_of(timeline: Timeline, i: int) -> float:
    """Return when frame `i` ends: at the next one, or a period later where that one is missing."""
    end = timeline.times_s[i] + timeline.period_s
    return (
        end
        if i + 1 == len(timeline.times_s) or _gap_after(timeline, i)
        else timeline.times_s[i + 1]
    )


def _gap_after(timeline: Timeline, i: int) -> bool:
    if i + 1 >= len(timeline.times_s):
        return False
    return timeline.times_s[i + 1] - timeline.times_s[i] > 1.8 * timeline.period_s
