# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Charts of entropy health: the layer profile of a frame, and the result of a health benchmark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import FormatStrFormatter

from eloss_perception.plots.charts import HEADING_PX, new_figure, pixels_of, write_heading
from eloss_perception.plots.style import (
    AXIS,
    BACKGROUND,
    BAND,
    BAND_EDGE,
    LEVEL_COLOURS,
    LEVEL_NAMES,
    MUTED,
    PANEL,
    TEXT,
    Picture,
    hex_colour,
    mix,
)

# Entropies within this many standard deviations of the clean mean are normal.
_BAND_STD = 2.0
_MIN_LIMIT, _MAX_LIMIT = 4.0, 10.0
# AP points from which a corruption is dangerous, as in evaluation/health.
_DANGEROUS_DROP = 10.0
# What the alarm makes of a condition: text, colour, marker.
_KINDS = (
    ("right", LEVEL_COLOURS[0], "o"),
    ("dangerous, missed by the alarm", LEVEL_COLOURS[2], "X"),
    ("alarm, but costs little", LEVEL_COLOURS[1], "s"),
)


@dataclass(frozen=True, eq=False)
class Profile:
    """The layer entropies of one frame and of clean frames, (L,) each.

    Raises:
        ValueError: If the lengths differ or there is no layer.
    """

    names: Sequence[str]
    entropy: Sequence[float]
    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self) -> None:
        lengths = {len(self.names), len(self.entropy), len(self.mean), len(self.std)}
        if len(lengths) != 1 or not len(self.names):
            raise ValueError(
                f"{len(self.names)} layer names, {len(self.entropy)} entropies, {len(self.mean)} "
                f"means and {len(self.std)} standard deviations: must be as many of each, at least "
                "one"
            )

    def deviations(self) -> npt.NDArray[np.float64]:
        """Returns (L,) standard deviations from the mean; NaN where there is none."""
        entropy, mean, std = (np.array(v, float) for v in (self.entropy, self.mean, self.std))
        has_value = np.isfinite(entropy) & (std > 0.0)
        return np.where(has_value, (entropy - mean) / np.where(std > 0.0, std, 1.0), np.nan)


def render_profile(
    profile: Profile,
    level: int,
    *,
    title: str = "Entropy profile",
    size: tuple[int, int] = (900, 540),
) -> Picture:
    """Draws the entropy of each tapped layer over the band that clean frames keep to.

    Above, the entropies themselves; below, the same in standard deviations from the clean mean,
    because a telling change is often small beside the difference between two layers.

    Args:
        profile: What to draw; a non-finite entropy is drawn as missing.
        level: Health level (`HealthLevel` or its value), which colours the entropies.
        title: Text at the top left.
        size: Width and height [px].

    Returns:
        (height, width, 3) uint8 RGB.
    """
    with new_figure(size) as figure:
        figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - HEADING_PX / size[1]))
        note = f"shaded: clean mean ± {_BAND_STD:g} std;  level {LEVEL_NAMES[int(level)]}"
        write_heading(figure, title, note)
        above, below = figure.subplots(2, 1, sharex=True)
        _draw_entropies(above, profile, int(level))
        draw_deviations(below, profile, int(level))
        below.set_ylabel("Deviation [std]")
        places = range(len(profile.names))
        rotation = 0 if sum(map(len, profile.names)) * 7 < size[0] else 45
        below.set_xticks(
            places, profile.names, rotation=rotation, ha="right" if rotation else "center"
        )
        return pixels_of(figure)


def _draw_entropies(axes: Any, profile: Profile, level: int) -> None:
    """Draws the entropies as a line of dots over one band a layer."""
    places = np.arange(len(profile.names))
    mean, std, entropy = (np.array(v, float) for v in (profile.mean, profile.std, profile.entropy))
    entropy[~np.isfinite(entropy)] = np.nan
    # The edge keeps a band visible that is thinner than a line.
    axes.bar(
        places,
        2 * _BAND_STD * std,
        bottom=mean - _BAND_STD * std,
        width=0.72,
        color=hex_colour(BAND),
        edgecolor=hex_colour(BAND),
        linewidth=1,
    )
    axes.hlines(mean, places - 0.36, places + 0.36, color=hex_colour(BAND_EDGE), linewidth=1.5)
    axes.plot(places, entropy, color=hex_colour(mix(PANEL, LEVEL_COLOURS[level], 0.55)))
    axes.plot(
        places,
        entropy,
        "o",
        color=hex_colour(LEVEL_COLOURS[level]),
        markersize=8,
        markeredgecolor=hex_colour(PANEL),
        markeredgewidth=1.5,
    )
    axes.use_sticky_edges = False  # or no margin would be left below the lowest band
    axes.set_ylabel("Normalised entropy")
    axes.grid(visible=False, axis="x")


def draw_deviations(axes: Any, profile: Profile, level: int, *, limit: float | None = None) -> None:
    """Draws the entropies as bars in standard deviations from the clean mean, the band shaded.

    Bars stop at the edge of the axis, under an arrow where the value lies further out. A fixed
    `limit` keeps the axis still from frame to frame. Layers are numbered from 0 on x.
    """
    deviations, places = profile.deviations(), np.arange(len(profile.names))
    largest = np.nanmax(np.abs(deviations), initial=0.0)
    limit = limit or min(max(_MIN_LIMIT, 1.15 * largest), _MAX_LIMIT)
    colour = LEVEL_COLOURS[level]
    # Layers within the band stay quiet, so that the eye goes to those outside.
    shades = [
        hex_colour(colour if abs(d) > _BAND_STD else mix(BAND, colour, 0.55)) for d in deviations
    ]
    axes.axhspan(-_BAND_STD, _BAND_STD, color=hex_colour(BAND), alpha=0.75, linewidth=0)
    axes.bar(places, np.clip(deviations, -limit, limit), width=0.62, color=shades)
    axes.axhline(0.0, color=hex_colour(AXIS), linewidth=1.2)
    for beyond, marker, sign in ((deviations > limit, "^", 1), (deviations < -limit, "v", -1)):
        heights = np.full(int(beyond.sum()), sign * 0.93 * limit)
        axes.plot(places[beyond], heights, marker, color=hex_colour(PANEL), markersize=6)
    missing = places[np.isnan(deviations)]
    axes.plot(missing, np.zeros(len(missing)), "o", color=hex_colour(MUTED), markersize=5)
    axes.set(ylim=(-limit, limit), xlim=(-0.6, len(places) - 0.4))
    axes.grid(visible=False, axis="x")


def render_health_table(document: Mapping[str, Any], protocol: str | None = None) -> Picture:
    """Draws AUROC and AP drop by corruption and severity, and how they go together.

    Args:
        document: The result of `eloss health`.
        protocol: Which calibration; without it the last in the document.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: If the document holds no condition.
    """
    protocol = protocol or list(document["protocols"])[-1]
    section, data = document["protocols"][protocol], document["data"]
    rows = section["scores"]["alarm"]["conditions"]
    if not rows:
        raise ValueError("no conditions to draw")
    drops = {text: float(document["harm"][text]["worst_drop"]) for text in rows}
    names = list(dict.fromkeys(_split(text)[0] for text in rows))
    severities = sorted({_split(text)[1] for text in rows})
    width = 130 + 2 * max(60 * len(severities), 200) + 560
    size = (width, HEADING_PX + max(22 * len(names) + 84, 420))
    with new_figure(size) as figure:
        figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - HEADING_PX / size[1]))
        title = (
            f"{document['bundle']['name']}, {protocol}: {data['num_frames']} frames, "
            f"{data['num_objects']} cars, mean AUROC "
            f"{section['scores']['alarm']['mean_auroc']['value']:.2f}"
        )
        write_heading(figure, title)
        left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 2])
        auroc = {text: float(row["auroc"]["value"]) for text, row in rows.items()}
        _draw_heat_map(left, _grid(auroc, names, severities), names, severities, (0.5, 1.0))
        left.set_title("AUROC of the alarm")
        _draw_heat_map(middle, _grid(drops, names, severities), None, severities, (0.0, 60.0))
        middle.set_title("AP drop [points]")
        ratios = {t: _log_ratio(row["median"], section["threshold"]) for t, row in rows.items()}
        _draw_scatter(right, ratios, drops)
        return pixels_of(figure)


def render_profiles(document: Mapping[str, Any], num_columns: int = 4) -> Picture:
    """Draws how far the layers' entropies lie from normal, one small plot a corruption.

    Each shows the highest severity, its median over the frames, against the spread of clean frames.

    Args:
        document: The result of `eloss health`.
        num_columns: Plots side by side.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: If the document holds no condition.
    """
    profiles, clean = document["profiles"], document["profiles"]["clean"]
    highest = {_split(text)[0]: text for text in profiles["conditions"]}
    if not highest:
        raise ValueError("no conditions to draw")
    num_columns = min(num_columns, len(highest))
    num_rows = math.ceil(len(highest) / num_columns)
    size = (300 * num_columns, 190 * num_rows + HEADING_PX)
    with new_figure(size) as figure:
        figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - HEADING_PX / size[1]))
        write_heading(
            figure,
            "Deviation of each layer's entropy from clean scans [std]",
            f"layers {profiles['layer_names'][0]} to {profiles['layer_names'][-1]}; "
            "red: dangerous corruption",
        )
        grid = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
        for axes, text in zip(grid, highest.values(), strict=False):
            values = [math.nan if v is None else v for v in profiles["conditions"][text]]
            profile = Profile(profiles["layer_names"], values, clean["mean"], clean["std"])
            is_dangerous = document["harm"].get(text, {}).get("kind") == "dangerous"
            draw_deviations(axes, profile, 2 if is_dangerous else 0, limit=6.0)
            axes.set_title(text)
            axes.set_xticks([])
        for axes in grid[len(highest) :]:
            axes.set_axis_off()
        return pixels_of(figure)


def _grid(
    values: Mapping[str, float], names: list[str], severities: list[int]
) -> npt.NDArray[np.float64]:
    """Returns values by corruption (rows) and severity (columns); NaN where there is none."""
    return np.array([[values.get(f"{n}:{s}", math.nan) for s in severities] for n in names])


def _draw_heat_map(
    axes: Any,
    values: npt.NDArray[np.float64],
    names: list[str] | None,
    severities: list[int],
    limits: tuple[float, float],
) -> None:
    digits, colours = (2, "viridis") if limits[1] <= 1.0 else (0, "inferno")
    image = axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            luminance = np.dot(image.to_rgba(value)[:3], (0.299, 0.587, 0.114))
            text = f"{round(value, digits) + 0.0:.{digits}f}"  # no sign of a rounded zero
            ink = hex_colour(BACKGROUND if luminance > 0.5 else TEXT)
            axes.text(column, row, text, ha="center", va="center", size=8, color=ink)
    axes.set_xticks(range(len(severities)), severities)
    axes.set_yticks(range(values.shape[0]), names or [""] * values.shape[0])
    axes.set_xlabel("Severity")
    axes.tick_params(length=0)
    axes.grid(visible=False)


def _draw_scatter(axes: Any, ratios: Mapping[str, float], drops: Mapping[str, float]) -> None:
    """Draws AP drop over the score; what is dangerous and below the threshold is red."""
    kinds: dict[str, int] = {}
    for text, drop in drops.items():
        is_dangerous, is_anomalous = drop >= _DANGEROUS_DROP, ratios[text] >= 0.0
        kinds[text] = 0 if is_dangerous == is_anomalous else 1 if is_dangerous else 2
    for kind, (label, colour, marker) in enumerate(_KINDS):
        members = [text for text in kinds if kinds[text] == kind]
        axes.scatter(
            [10.0 ** ratios[text] for text in members],
            [drops[text] for text in members],
            s=26,
            marker=marker,
            color=hex_colour(colour),
            label=label,
            linewidth=0,
            zorder=3,
        )
    axes.set_xscale("log")
    axes.set_xlim(
        10.0 ** (min([-0.2, *ratios.values()]) - 0.05), 10.0 ** (max([0.2, *ratios.values()]) + 0.1)
    )
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.axvline(1.0, color=hex_colour(AXIS), linewidth=1.5)
    axes.axhline(_DANGEROUS_DROP, color=hex_colour(AXIS), linestyle="--")
    axes.set(xlabel="Median score / threshold", ylabel="AP drop, worse of BEV and 3D [points]")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderpad=0)
    _name_missed(
        axes, [(text, 10.0 ** ratios[text], drops[text]) for text in kinds if kinds[text] == 1]
    )


def _name_missed(axes: Any, points: list[tuple[str, float, float]]) -> None:
    """Names dangerous conditions that the alarm misses, leaving out a name that covers another."""
    taken: list[tuple[float, float]] = []
    for text, x, y in sorted(points, key=lambda point: -point[2]):
        column, row = axes.transData.transform((x, y))
        if all(abs(row - r) > 11 or abs(column - c) > 110 for c, r in taken):
            axes.annotate(
                text,
                (x, y),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                size=8,
                color=hex_colour(MUTED),
            )
            taken.append((column, row))


def _log_ratio(median: float | None, threshold: float) -> float:
    """Returns log10 of the score over the threshold, limited to what a chart can show."""
    return 2.0 if median is None else min(2.0, math.log10(max(median, 1e-3) / threshold))


def _split(text: str) -> tuple[str, int]:
    name, _, severity = text.partition(":")
    return name, int(severity)
