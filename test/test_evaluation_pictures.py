# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from eloss_perception.plots.outcomes import OUTCOME_COLOURS, OutcomeBoxes, render_outcomes
from eloss_perception.plots.precision_recall import PrecisionCurve, render_precision_recall

BEV_COLOUR = (86, 180, 233)


def near(picture, colour, tolerance=30):
    """Return which pixels have nearly a colour."""
    return (np.abs(picture.astype(int) - np.array(colour)) <= tolerance).all(axis=2)


def curve(precision, is_loose=False, metric="bev"):
    return PrecisionCurve(metric, 0.5, is_loose, precision, float(np.mean(precision)))


class TestPrecisionRecall:
    def render(self, lines):
        return render_precision_recall({"Car": lines}, {"Car": 7}, "title", "subtitle")

    def plot(self, picture):
        """Return the part of the plot above the legend."""
        return picture[80:250, 60:360]

    def test_a_panel_for_each_class(self):
        one = self.render([curve([90.0] * 40)])
        two = render_precision_recall({"Car": [], "Cyclist": []}, {}, "title")
        assert two.shape == (one.shape[0], 2 * one.shape[1], 3)

    def test_higher_precision_is_further_up(self):
        rows = []
        for value in (95.0, 70.0):
            mask = near(self.plot(self.render([curve([value] * 40)])), BEV_COLOUR)
            assert mask.sum() >= 300
            rows.append(np.flatnonzero(mask.any(axis=1)).mean())
        assert rows[0] + 30 < rows[1]

    def test_a_line_ends_at_its_last_recall(self):
        picture = self.render([curve([95.0] * 20 + [0.0] * 20)])
        columns = np.flatnonzero(near(self.plot(picture), BEV_COLOUR).any(axis=0))
        assert columns.max() < 170

    def test_the_loose_overlap_is_dashed(self):
        solid, dashed = (
            near(self.plot(self.render([curve([90.0] * 40, loose)])), BEV_COLOUR).any(axis=0)
            for loose in (False, True)
        )
        assert 0.3 * solid.sum() < dashed.sum() < 0.9 * solid.sum()

    def test_nothing_found_and_no_objects(self):
        nan = [float("nan")] * 40
        for values in ([0.0] * 40, nan):
            assert not near(self.plot(self.render([curve(values)])), BEV_COLOUR).any()
        with pytest.raises(ValueError, match="no class"):
            render_precision_recall({}, {}, "title")


class TestOutcomes:
    POINTS = np.zeros((0, 4), np.float32)
    BOX = np.array([[20.0, 5.0, -1.0, 4.0, 1.8, 1.6, 0.3]], np.float32)

    def render(self, **outcomes):
        return render_outcomes(self.POINTS, outcomes, title="frame", size=(600, 600))

    @pytest.mark.parametrize("name", sorted(OUTCOME_COLOURS))
    def test_each_outcome_has_its_colour_where_the_box_is(self, name):
        picture = self.render(**{name: OutcomeBoxes(self.BOX, ["Car"])})
        drawn = (picture != self.render()).any(axis=2) & near(picture, OUTCOME_COLOURS[name])
        rows, columns = np.nonzero(drawn[40:560])
        assert len(rows) > 15
        # Left of the middle, since y is to the left.
        assert columns.max() < 330
        assert np.ptp(rows) < 60

    def test_no_outcome_is_the_scan_alone(self):
        picture = self.render(found=OutcomeBoxes(self.BOX[:0], []))
        assert not near(picture[40:560], OUTCOME_COLOURS["found"]).any()

    def test_wrong_input(self):
        with pytest.raises(ValueError, match="one of ignored, found, false, missed"):
            self.render(lost=OutcomeBoxes(self.BOX, [""]))
        with pytest.raises(ValueError, match="2 texts for 1 boxes"):
            self.render(found=OutcomeBoxes(self.BOX, ["", ""]))
