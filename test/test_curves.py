# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Panels of curves: lines where the values are, bands around them, gaps where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from eloss_perception.plots.curves import Curve, Panel, render_curves

RED, BLUE = (255, 0, 0), (0, 0, 255)
STEPS = np.arange(5, dtype=float)


def flat(name: str, value: float, spread: float = 0.0) -> Curve:
    return Curve(name, STEPS, np.full(5, value), np.full(5, spread))


def pixels(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns (N, 2) of a colour below the legend."""
    return np.argwhere((picture[40:] == colour).all(axis=2))


def test_larger_values_lie_higher():
    panel = Panel("p", "step", [flat("low", 1.0), flat("high", 2.0)])
    picture = render_curves([panel], {"low": RED, "high": BLUE}, panel_size=(300, 200))
    assert picture.shape == (228, 300, 3)
    assert np.median(pixels(picture, BLUE)[:, 0]) < np.median(pixels(picture, RED)[:, 0]) - 50


def test_a_gap_is_left_where_a_value_is_missing():
    values = np.array([1.0, 1.0, np.nan, 1.0, 1.0])
    panel = Panel("p", "step", [Curve("a", STEPS, values, np.zeros(5)), flat("b", 2.0)])
    picture = render_curves([panel], {"a": RED, "b": BLUE}, panel_size=(300, 200))
    columns = np.unique(pixels(picture, RED)[:, 1])
    assert np.diff(columns).max() > 80  # two of the four steps between the first and last value
    assert np.diff(np.unique(pixels(picture, BLUE)[:, 1])).max() < 20


def test_the_band_widens_the_scale():
    def height_of_line(spread: float) -> float:
        curves = [flat("a", 1.0, spread), flat("b", 2.0)]
        picture = render_curves([Panel("p", "", curves)], {"a": RED, "b": BLUE})
        return float(np.median(pixels(picture, RED)[:, 0]))

    assert height_of_line(3.0) < height_of_line(0.0) - 50


def test_panels_fill_a_grid():
    panels = [Panel(str(i), "", [flat("a", i)]) for i in range(3)]
    picture = render_curves(panels, {"a": RED}, num_columns=2, panel_size=(200, 150))
    assert picture.shape == (28 + 2 * 150, 400, 3)


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no panels"):
        render_curves([], {})
    with pytest.raises(ValueError, match="no finite value"):
        render_curves([Panel("p", "", [flat("a", np.nan)])], {"a": RED})
