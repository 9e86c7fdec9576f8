# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Departures in words: the greatest first, each once, low and high told apart."""

from __future__ import annotations

import numpy as np
import pytest
from health_reference_factory import LAYERS

from eloss_perception.health.readings import cause_in_words, reading_names, reason_in_words
from eloss_perception.health.reference_file import TEXTS_BEFORE_0_5
from eloss_perception.simulation.corruptions import CORRUPTIONS

NAMES = reading_names(LAYERS)


def reason(**deviations: float) -> str:
    """Of squashed deviations by reading, with __ for the first dot."""
    values = np.zeros(len(NAMES))
    for name, deviation in deviations.items():
        values[NAMES.index(name.replace("__", ".", 1))] = deviation
    return reason_in_words(NAMES, values)


def test_the_greatest_departures_come_first_and_three_are_named() -> None:
    text = reason(
        counts__in_range=-2.0, ground__pitch=5.0, intensity__mean=3.0, elevation__gaps=4.0
    )
    assert text == "ground rises ahead, gaps between beams, intensities high"


@pytest.mark.parametrize(
    ("deviations", "words"),
    [
        ({"range__to_65m": -3.0}, "fewer far returns"),
        ({"counts__in_range": -3.0}, "fewer points"),
        ({"counts__in_range": 3.0}, "more points"),
        ({"ground__pitch": -3.0}, "ground falls ahead"),
        ({"ground__brightness": -3.0}, "ground dark"),
        ({"sectors__emptiest": -3.0}, "a sector is empty"),
        ({"envelope__sector3": 3.0}, "lowest beam tilted or lost"),
        ({"elevation__bin3": 3.0}, "beam pattern changed"),
    ],
)
def test_low_and_high_have_their_own_words(deviations: dict[str, float], words: str) -> None:
    assert reason(**deviations) == words


def test_layers_are_named_by_their_depth() -> None:
    values = np.zeros(len(NAMES))
    values[NAMES.index("entropy.stage1.conv1")] = 3.0
    assert reason_in_words(NAMES, values) == "early-layer entropy high"
    values[NAMES.index("entropy.stage2.conv1")] = -4.0
    assert reason_in_words(NAMES, values) == "layer entropy low, early-layer entropy high"


def test_one_thing_is_said_once() -> None:
    assert reason(counts__in_range=-3.0, counts__pillars=-4.0) == "fewer points"


def test_nothing_notable_is_a_matter_of_combination() -> None:
    assert reason() == reason(counts__in_range=1.0) == "in combination only"


def test_checks_with_a_reading_that_is_not_finite_are_named() -> None:
    text = reason(ground__pitch=np.nan, ground__roll=np.inf)
    assert text == "ground cannot be read"


@pytest.mark.parametrize("name", NAMES)
def test_every_reading_has_words_of_its_own_language(name: str) -> None:
    for deviation in (-5.0, 5.0):
        values = np.where(np.array(NAMES) == name, deviation, 0.0)
        text = reason_in_words(NAMES, values)
        assert text != "in combination only"
        assert name not in text, "a name of the code is no word for a person"


def test_causes_begin_a_sentence() -> None:
    for name, corruption in CORRUPTIONS.items():
        assert "_" not in cause_in_words(name, {name: corruption.words})
    assert cause_in_words("beam_missing", TEXTS_BEFORE_0_5) == "like lost beams"
    assert cause_in_words("gaussian_noise", {}) == "like gaussian noise"
    assert cause_in_words("unknown", {}) == "like nothing known"
    assert cause_in_words("stale_scan", {}) == "the same scan again"
