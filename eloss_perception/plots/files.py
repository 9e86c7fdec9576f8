# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures to files: PNG, and animations as GIF or WebP within a size limit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from eloss_perception.errors import ConfigError
from eloss_perception.files import new_file, write_file
from eloss_perception.interrupts import check_interrupt
from eloss_perception.plots.style import (
    BACKGROUND,
    CLASS_COLOURS,
    LEVEL_COLOURS,
    OTHER_CLASS,
    TEXT,
    Picture,
    mix,
)

# What a README shows without making its readers wait.
MAX_ANIMATION_BYTES = 5_000_000
_PALETTE_SAMPLES = 12
_SMALLEST_SHRINK = 0.35


def save_png(path: Path, picture: Picture) -> None:
    """Write (H, W, 3) uint8 RGB as PNG, creating the folder.

    Raises:
        DataError: If the file cannot be written.
    """
    with new_file(path) as file:
        Image.fromarray(picture).save(file, "PNG", optimize=True)


def save_animation(
    path: Path,
    frames: Sequence[Picture],
    fps: float,
    *,
    max_bytes: int = MAX_ANIMATION_BYTES,
    colours: int = 224,
) -> tuple[int, int]:
    """Write frames as an animation that repeats for ever, made smaller until it fits.

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
    """Quantise to one adaptive palette without dithering: noise would defeat the compression."""
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
    """Return a palette of the commonest colours and those that carry meaning.

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
