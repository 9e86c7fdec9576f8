# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Animations: the frames of a drive, and how frames become a GIF or WebP file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.errors import ConfigError
from eloss_perception.files import write_file
from eloss_perception.interrupts import check_interrupt
from eloss_perception.plots.bev import Extent, render_bev
from eloss_perception.plots.charts import new_figure, pixels_of
from eloss_perception.plots.health_charts import Profile, draw_deviations
from eloss_perception.plots.style import (
    BACKGROUND,
    CLASS_COLOURS,
    LEVEL_COLOURS,
    LEVEL_NAMES,
    MUTED,
    OTHER_CLASS,
    PANEL,
    TEXT,
    Picture,
    draw_text,
    hex_colour,
    mix,
    shorten,
)
from eloss_perception.plots.timeline import BOTTOM_PX, Timeline, render_timeline_strip

# What a README shows without making its readers wait.
MAX_ANIMATION_BYTES = 5_000_000
_PALETTE_SAMPLES = 12
_SMALLEST_SHRINK = 0.35

# x_min, y_min, x_max, y_max [m]: nearer than a single picture, since a frame gives it less space.
FRAME_EXTENT: Extent = (-6.0, -32.0, 50.0, 32.0)
_BEV_SHARE = 0.68
_TIMELINE_PX = 190
_DEVIATION_LIMIT = 8.0


class DriveAnimation:
    """The frames of an animation: bird's-eye view, entropy profile, and the timeline so far.

    Args:
        timeline: Health of the whole drive.
        class_names: Name of each label.
        title: Text over the bird's-eye view.
        extent: x_min, y_min, x_max, y_max [m] that must be visible.
        size: Width and height [px].
    """

    def __init__(
        self,
        timeline: Timeline,
        class_names: Sequence[str],
        *,
        title: str = "",
        extent: Extent = FRAME_EXTENT,
        size: tuple[int, int] = (960, 720),
    ) -> None:
        self._timeline = timeline
        self._class_names = class_names
        self._title = title
        self._extent = extent
        self._width, self._height = size
        strip_size = (self._width, _TIMELINE_PX)
        self._whole, self._bare, self._columns = render_timeline_strip(timeline, strip_size)

    def frame(
        self,
        points: NDArray[np.float32],
        boxes: Boxes3D,
        profile: Profile,
        index: int,
        condition: str = "",
    ) -> Picture:
        """Draws one frame.

        Args:
            points: (N, 4) float32 x, y, z [m], intensity in [0, 1]; LiDAR frame.
            boxes: Detections of this frame.
            profile: Its entropies and what is normal.
            index: Its place in the timeline, of which the rest is not shown.
            condition: How the input is corrupted (for example "fog:4"); empty for not at all.

        Returns:
            (height, width, 3) uint8 RGB.

        Raises:
            ValueError: If `index` is outside the timeline.
        """
        times_s = self._timeline.times_s
        if not 0 <= index < len(times_s):
            raise ValueError(f"frame {index} of a timeline of {len(times_s)} frames")
        bev_width, upper = round(self._width * _BEV_SHARE), self._height - _TIMELINE_PX
        picture = np.empty((self._height, self._width, 3), np.uint8)
        picture[:upper, :bev_width] = render_bev(
            points,
            boxes,
            self._class_names,
            extent=self._extent,
            size=(bev_width, upper),
            title=self._title,
            subtitle=f"{times_s[index] - times_s[0]:.1f} s",
        )
        side_size = (self._width - bev_width, upper)
        picture[:upper, bev_width:] = self._side(side_size, profile, index, condition)
        now = self._columns[index]
        picture[upper:] = self._bare
        picture[upper:, :now] = self._whole[:, :now]
        picture[upper + 12 : -BOTTOM_PX, now - 1 : now] = TEXT
        return picture

    def _side(self, size: tuple[int, int], profile: Profile, index: int, condition: str) -> Picture:
        """Draws level, score and the deviations of the layers in the column beside the scan."""
        timeline, (width, height) = self._timeline, size
        level = int(timeline.levels[index])
        scores = timeline.scores if timeline.smoothed is None else timeline.smoothed
        image = Image.new("RGB", size, PANEL)
        draw = ImageDraw.Draw(image)
        draw_text(draw, (16, 19), "Entropy health", 16, TEXT)
        badge = (width - 88, 7, width - 14, 31)
        draw.rounded_rectangle(badge, 5, fill=LEVEL_COLOURS[level])
        draw_text(draw, (width - 51, 19), LEVEL_NAMES[level], 14, PANEL, "mm")
        draw_text(draw, (16, 58), f"{scores[index]:.1f}", 30, TEXT)
        draw_text(draw, (width - 14, 52), "points of AP at risk", 12, MUTED, "rm")
        draw_text(draw, (width - 14, 68), f"threshold {timeline.threshold:g}", 12, MUTED, "rm")
        lines = [f"Input: {condition or 'clean'}"]
        if timeline.causes is not None:
            lines.append(f"Judged: {timeline.causes[index] or 'normal'}")
        for row, text in enumerate(lines):
            draw_text(draw, (16, 92 + 20 * row), shorten(text, 13, width - 30), 13, TEXT)
        top = 100 + 20 * len(lines)
        with new_figure((width, height - top)) as figure:
            figure.set_facecolor(hex_colour(PANEL))
            box = {"left": 42 / width, "right": 1 - 16 / width, "bottom": 0.1, "top": 0.9}
            axes = figure.subplots(gridspec_kw=box)
            draw_deviations(axes, profile, level, limit=_DEVIATION_LIMIT)
            axes.set_title("Deviation of layer entropy [std]", size=9, color=hex_colour(MUTED))
            # The first and the last layer tell which way to read.
            ends = {0: profile.names[0], len(profile.names) - 1: profile.names[-1]}
            axes.set_xticks(list(ends), list(ends.values()))
            image.paste(Image.fromarray(pixels_of(figure)), (0, top))
        return np.asarray(image, dtype=np.uint8)


def save_animation(
    path: Path,
    frames: Sequence[Picture],
    fps: float,
    *,
    max_bytes: int = MAX_ANIMATION_BYTES,
    colours: int = 224,
) -> tuple[int, int]:
    """Writes frames as an animation that repeats for ever, made smaller until it fits.

    Args:
        path: Ends in .gif or .webp.
        frames: (H, W, 3) uint8 RGB each, all of one size.
        fps: Frames a second.
        max_bytes: Limit of the file; the pictures shrink to keep it.
        colours: Size of the GIF's palette, which all frames share.

    Returns:
        Width and height of the animation as written [px].

    Raises:
        ConfigError: If there are no frames, their sizes differ, the rate is not positive or the
            ending is another.
        DataError: If the file cannot be written.
    """
    if path.suffix not in (".gif", ".webp"):
        raise ConfigError(f"an animation is .gif or .webp, not '{path.suffix}' ({path})")
    if not frames:
        raise ConfigError(f"no frames to write to {path}")
    if len({picture.shape for picture in frames}) != 1:
        raise ConfigError(f"the frames of {path} differ in size")
    if fps <= 0:
        raise ConfigError(f"fps is {fps}, must be more than 0")
    images = [Image.fromarray(picture) for picture in frames]
    shrink = 1.0
    while True:
        check_interrupt()
        size = (round(images[0].width * shrink), round(images[0].height * shrink))
        sized = (
            images if shrink == 1.0 else [i.resize(size, Image.Resampling.LANCZOS) for i in images]
        )
        content = _gif(sized, fps, colours) if path.suffix == ".gif" else _webp(sized, fps)
        num_bytes = len(content)
        if num_bytes <= max_bytes or shrink <= _SMALLEST_SHRINK:
            write_file(path, content)
            return size
        # Bytes go with the area; a little less than that guess, so that one more pass is enough.
        shrink = max(_SMALLEST_SHRINK, 0.94 * shrink * float(np.sqrt(max_bytes / num_bytes)))


def _gif(images: Sequence[Image.Image], fps: float, colours: int) -> bytes:
    """Quantises to one adaptive palette without dithering: noise would defeat the compression."""
    step = max(1, len(images) // _PALETTE_SAMPLES)
    sample = np.concatenate([np.asarray(image) for image in images[::step]])
    palette = _palette(sample, colours)
    indexed = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    file = io.BytesIO()
    indexed[0].save(
        file,
        "GIF",
        save_all=True,
        append_images=indexed[1:],
        duration=round(1000 / fps),
        loop=0,
        optimize=False,
    )
    return file.getvalue()


def _palette(sample: Picture, colours: int) -> Image.Image:
    """Returns a palette of the commonest colours and those that carry meaning.

    Thin outlines are few pixels: by number alone a pedestrian's would become an error's red.
    """
    meaningful = [OTHER_CLASS, TEXT, *CLASS_COLOURS.values(), *LEVEL_COLOURS.values()]
    fixed = [*meaningful, *(mix(BACKGROUND, colour, 0.55) for colour in meaningful)]
    free = max(8, colours - len(fixed))
    adaptive = Image.fromarray(sample).quantize(free, method=Image.Quantize.MEDIANCUT)
    values = (adaptive.getpalette() or [])[: 3 * free]
    values += [channel for colour in fixed for channel in colour]
    palette = Image.new("P", (1, 1))
    palette.putpalette(values[: 3 * 256])
    return palette


def _webp(images: Sequence[Image.Image], fps: float) -> bytes:
    file = io.BytesIO()
    images[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / fps),
        loop=0,
        quality=72,
        method=3,
    )
    return file.getvalue()
