# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The health benchmark's parts: conditions, features, protocols, harm, sequences, confusion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_factory import car, found, random_frames
from health_reference_factory import clean_readings, disturbed_readings, make_reference

from eloss_perception.datasets.kitti.calibration import Calibration
from eloss_perception.errors import DataError
from eloss_perception.evaluation import EvaluationFrame, match_cars
from eloss_perception.evaluation.average_precision import draw_counts
from eloss_perception.evaluation.health.collect import Collected, join, stack
from eloss_perception.evaluation.health.frames import (
    CLEAN,
    FrameSource,
    apply_condition,
    list_conditions,
    simulated_drives,
    simulated_frames,
)
from eloss_perception.evaluation.health.harm import evaluation_frames, measure_harm
from eloss_perception.evaluation.health.protocols import (
    confusion,
    confusion_lines,
    fold_numbers,
    kinds_of,
    recalibrated_scores,
    shipped_scores,
)
from eloss_perception.evaluation.health.readout import (
    RANGE_EDGES,
    columns_of,
    fork,
    host_checks,
    morans_i,
    play,
    range_histogram,
    restricted,
    without_profiles,
)
from eloss_perception.evaluation.health.sequences import (
    PreparedSequence,
    back_and_forth,
    onset_peaks,
    onset_starts,
    play_clean,
    play_condition,
)
from eloss_perception.evaluation.health.settings import SequenceSettings
from eloss_perception.evaluation.health.statistics import draw_blocks
from eloss_perception.health.judge import HealthJudge
from eloss_perception.health.monitor import HealthMonitor
from eloss_perception.health.reference import Condition

FOG = Condition("fog", 5)
STALE = Condition("stale_scan", 5)


def collected(readings: np.ndarray, num_boxes: int = 0) -> Collected:
    """Readings with features that say nothing."""
    rng = np.random.default_rng(len(readings))
    box = np.array([[12.0, 0.0, -0.7, 3.9, 1.6, 1.5, 0.0]] * num_boxes, np.float32).reshape(-1, 7)
    return stack(
        {
            "readings": row,
            "layer_entropy": row[:3],
            "layer_log_rms": row[3:6],
            "num_points": np.array(1e5),
            "range_histogram": rng.uniform(100, 200, 17),
            "morans_i": rng.normal(0.5, 0.1, 2),
            "confidence": rng.uniform(0.2, 0.4, 2),
            "boxes": box,
            "box_scores": np.full(num_boxes, 0.8, np.float32),
            "box_labels": np.zeros(num_boxes, np.int64),
        }
        for row in readings
    )


def many_clean(reference, count: int, first: int = 0) -> np.ndarray:
    return np.stack([clean_readings(reference, seed) for seed in range(first, first + count)])


def many_foggy(reference, count: int) -> np.ndarray:
    return np.stack([disturbed_readings(reference, "fog", 500 + seed) for seed in range(count)])


def test_conditions_are_those_that_can_be_seen() -> None:
    names = ("fog", "swapped_axes", "stale_scan")
    single = [c.label for c in list_conditions(names, (1, 3))]
    assert single == ["clean", "fog:1", "fog:3", "swapped_axes:5"]
    sequence = [c.label for c in list_conditions(names, (1, 3), in_sequence=True)]
    assert sequence == [*single, "stale_scan:5"]


def test_each_frame_is_corrupted_for_itself_but_what_persists() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-40.0, 40.0, (3000, 4)).astype(np.float32)
    points[:, 3] = 0.5

    def apply(name: str, index: int, source: str = "val", in_sequence: bool = True) -> np.ndarray:
        return apply_condition(
            Condition(name, 3), points, 0, source, index, in_sequence=in_sequence
        )

    assert apply_condition(CLEAN, points, 0, "val", 0) is points
    assert np.array_equal(apply("point_dropout", 1), apply("point_dropout", 1))
    assert not np.array_equal(apply("point_dropout", 1), apply("point_dropout", 2))
    assert not np.array_equal(apply("point_dropout", 1), apply("point_dropout", 1, "train"))
    assert np.array_equal(apply("beam_missing", 1), apply("beam_missing", 2))
    alone = [apply("beam_missing", index, in_sequence=False) for index in (1, 2)]
    assert not np.array_equal(*alone)


def test_morans_i_tells_a_scene_from_noise() -> None:
    elevation = np.radians(np.arange(-24.7, 4.0, 0.45))[:, None] + np.zeros(900)
    azimuth = np.radians(np.arange(0.2, 360.0, 0.4)) + np.zeros_like(elevation)
    distance = 20.0 + 10.0 * np.sin(3 * azimuth)
    direction = [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)]
    xyz = np.stack([*direction, np.sin(elevation)], axis=-1) * distance[..., None]
    intensity = 0.5 + 0.3 * np.cos(azimuth)
    points = np.concatenate([xyz, intensity[..., None]], axis=-1).reshape(-1, 4)
    smooth = morans_i(points.astype(np.float32))
    assert (smooth > 0.95).all()
    rng = np.random.default_rng(0)
    noisy = points.copy()
    ranges = np.linalg.norm(points[:, :3], axis=1, keepdims=True)
    noisy[:, :3] *= rng.permutation(ranges) / ranges
    noisy[:, 3] = rng.permutation(points[:, 3])
    assert (np.abs(morans_i(noisy.astype(np.float32))) < 0.05).all()
    assert morans_i(np.zeros((0, 4), np.float32)).tolist() == [0.0, 0.0]
    points[:, 3] = 0.4
    assert morans_i(points.astype(np.float32))[1] == 0.0


def test_range_histogram_counts_every_finite_point() -> None:
    points = np.array([[3, 4, 0, 0], [0, 7, 9, 0], [500, 0, 0, 0], [np.nan, 0, 0, 0]], np.float32)
    counts = range_histogram(points)
    assert len(counts) == len(RANGE_EDGES) - 1
    assert counts[1] == 2  # 5 and 7 m
    assert counts[-1] == 1
    assert counts.sum() == 3


def test_collected_frames_come_back_from_their_file(tmp_path) -> None:
    reference = make_reference()
    frames = collected(many_clean(reference, 4), num_boxes=2)
    frames.save(tmp_path / "deep" / "clean.npz")
    again = Collected.load(tmp_path / "deep" / "clean.npz")
    assert np.array_equal(again.readings, frames.readings)
    assert again.num_boxes.tolist() == [2, 2, 2, 2]
    both = join([frames, again])
    assert len(both) == 8
    assert len(both.boxes) == 16
    assert np.array_equal(both.take(np.array([5])).readings[0], frames.readings[1])
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"bad\.npz"):
        Collected.load(tmp_path / "bad.npz")


def test_simulated_scans_are_made_again_when_asked_for() -> None:
    (drive,) = simulated_drives(1, 3, seed=0, rate_hz=10.0, keep=False)
    frames = drive.frames
    assert drive.is_sequence
    first = frames.points("000000")
    assert not np.array_equal(frames.points("000002"), first)
    assert np.array_equal(frames.points("000000"), first)
    one, other = (simulated_frames(1, seed) for seed in (0, 1))
    assert one.description != other.description
    assert not np.array_equal(one.frames.points("000000"), other.frames.points("000000"))
    assert one.frames.objects("000000")


def test_folds_never_mix_splits_and_a_frame_never_calibrates_itself() -> None:
    assert fold_numbers([4, 6], 2).tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 3, 3]
    reference = make_reference()
    frames = {
        CLEAN: collected(many_clean(reference, 10)),
        FOG: collected(many_foggy(reference, 10)),
    }
    seen = []

    def recalibrate(clean: Collected):
        seen.append({row.tobytes() for row in clean.readings})
        return reference

    simulated = collected(many_clean(reference, 60, first=1000))
    recalibrated_scores(frames, recalibrate, simulated, [4, 6], 2)
    rows = [row.tobytes() for row in frames[CLEAN].readings]
    assert seen == [set(rows[2:4]), set(rows[0:2]), set(rows[7:10]), set(rows[4:7])]


def test_scores_are_high_where_their_part_departs() -> None:
    reference = make_reference()
    frames = {
        CLEAN: collected(many_clean(reference, 12)),
        FOG: collected(many_foggy(reference, 12)),
    }
    simulated = collected(many_clean(reference, 80, first=1000))
    result = shipped_scores(frames, reference, simulated)
    for name in ("alarm", "entropy", "entropy_distance", "input_statistics", "without_entropy"):
        clean, foggy = result.scores[name].pair(FOG)
        assert foggy.min() > clean.max(), name
    for name in ("log_rms", "num_points"):  # The fog of the factory leaves these alone.
        clean, foggy = result.scores[name].pair(FOG)
        assert abs(np.median(foggy) - np.median(clean)) < 0.5, name
    assert not result.over_threshold[CLEAN].any()
    assert result.over_threshold[FOG].all()
    assert result.causes[FOG] == ["fog"] * 12
    assert result.causes[CLEAN] == [""] * 12


def test_a_disturbance_never_thought_of_is_still_odd() -> None:
    reference = make_reference()
    less = without_profiles(reference, "fog")
    assert set(less.profiles.names) == set(reference.profiles.names) - {"fog"}
    foggy = many_foggy(reference, 5)
    judge = HealthJudge(less)
    assert judge.score(foggy).min() > judge.score(many_clean(reference, 20)).max()
    assert "fog" not in judge.likely_causes(foggy)


def test_a_restricted_reference_is_blind_to_the_rest() -> None:
    reference = make_reference()
    clean = many_clean(reference, 50)
    columns = columns_of(reference, ("entropy",))
    judge = HealthJudge(restricted(reference, ("entropy",), clean))
    assert columns.tolist() == [0, 1, 2]
    moved = clean.copy()
    moved[:, 3:] += 100.0
    assert np.array_equal(judge.score(moved[:, columns]), judge.score(clean[:, columns]))
    moved[:, 0] += 1.0
    assert judge.score(moved[:, columns]).min() > judge.score(clean[:, columns]).max()
    assert not {"entropy", "scale"} & set(host_checks(reference))


def test_boxes_that_the_camera_does_not_see_are_nobodys() -> None:
    class Frames:
        ids = ("0",)

        def calibration(self, frame_id):
            return Calibration.synthetic()

        def objects(self, frame_id):
            return []

    reference = make_reference()
    seen = collected(many_clean(reference, 1), num_boxes=2)
    seen.boxes[1, 0] = -12.0
    source = FrameSource("one", Frames(), "one frame")
    (frame,) = evaluation_frames([source], seen, ("Car", "Pedestrian", "Cyclist"))
    assert len(frame.detections) == 1
    assert frame.detections[0].score == pytest.approx(0.8)


def test_harm_is_the_drop_from_clean() -> None:
    def frames(share: float) -> list[EvaluationFrame]:
        cars = [car(place) for place in range(5)]
        kept = round(share * len(cars))
        return [EvaluationFrame(cars, [found(c, 0.9) for c in cars[:kept]]) for _ in range(8)]

    matched = {CLEAN: match_cars(frames(1.0)), FOG: match_cars(frames(0.4))}
    draws = draw_counts(draw_blocks(8, 20, 1, 0)).astype(np.int64)
    harms = measure_harm(matched, draws, 0.95)
    expected = matched[CLEAN]["bev"].average_precision().ap_r40
    assert harms[CLEAN].worst == 0.0
    assert harms[CLEAN].kind(10.0, 2.0) == "harmless"
    assert harms[FOG].ap["bev"] < 0.5 * expected
    assert harms[FOG].worst == pytest.approx(harms[FOG].drop["3d"].value)
    # All frames are alike: whichever are drawn, the drop is the same.
    assert harms[FOG].drop["bev"].low == pytest.approx(harms[FOG].drop["bev"].high)
    assert harms[FOG].kind(10.0, 2.0) == "dangerous"
    assert harms[FOG].kind(90.0, 2.0) == ""


def test_resampled_harm_spreads_where_frames_differ() -> None:
    rng = np.random.default_rng(0)
    matched = {CLEAN: match_cars(random_frames(rng, 12)), FOG: match_cars(random_frames(rng, 12))}
    draws = draw_counts(draw_blocks(12, 30, 1, 0)).astype(np.int64)
    drop = measure_harm(matched, draws, 0.9)[FOG].drop["bev"]
    assert drop.low < drop.value < drop.high


def test_a_short_sequence_is_played_back_and_forth() -> None:
    assert back_and_forth(4, 0, 9).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert back_and_forth(4, -3, 4).tolist() == [3, 2, 1, 0]
    assert (np.abs(np.diff(back_and_forth(7, 3, 50))) == 1).all()
    assert onset_starts(4, 3) == [0, 2, 4]
    assert onset_starts(3, 99) == [0, 1, 2, 3]


def test_delay_and_recovery_of_a_fault_that_comes_and_goes() -> None:
    reference = make_reference()
    settings = SequenceSettings(num_onsets=3, recovery=25)
    sequence = {CLEAN: many_clean(reference, 12), FOG: many_foggy(reference, 12)}
    prepared = PreparedSequence(reference, sequence, settings)
    outcome = play_condition([prepared], FOG)
    assert len(outcome.onsets) == 3
    for onset in outcome.onsets:
        assert onset.peak > onset.clean_peak
        assert 1 <= onset.frames_to_warn <= onset.frames_to_error <= 4
        assert 1 <= onset.frames_to_ok < math.inf
    clean_peaks, peaks = onset_peaks([prepared], FOG)
    assert peaks.tolist() == [onset.peak for onset in outcome.onsets]
    assert clean_peaks.tolist() == [onset.clean_peak for onset in outcome.onsets]
    assert outcome.share_ok < 0.3
    assert outcome.num_frames == 12
    unseen = play_condition([prepared], CLEAN)
    assert unseen.share_ok == 1.0
    assert all(onset.frames_to_warn == math.inf for onset in unseen.onsets)
    assert all(onset.frames_to_ok == 0.0 for onset in unseen.onsets)
    assert all(onset.peak == onset.clean_peak for onset in unseen.onsets)


def test_a_repeated_scan_needs_no_second_look_of_the_network() -> None:
    reference = make_reference()
    sequence = {CLEAN: many_clean(reference, 12)}
    prepared = PreparedSequence(reference, sequence, SequenceSettings(num_onsets=2))
    for onset in play_condition([prepared], STALE).onsets:
        assert onset.frames_to_warn <= 3


def test_clean_sequences_count_false_alarms() -> None:
    reference = make_reference()
    quiet, loud = many_clean(reference, 40), many_clean(reference, 40)
    loud[10:14] = many_foggy(reference, 4)
    loud[30:34] = many_foggy(reference, 4)
    outcome = play_clean(reference, [quiet, loud], rate_hz=10.0)
    assert outcome.num_alarms == 2
    assert outcome.num_frames == 80
    assert outcome.hours == pytest.approx(8.0 / 3600.0)
    assert 0.5 < outcome.share_ok < 1.0


def test_a_forked_monitor_leaves_the_first_as_it_was() -> None:
    reference = make_reference()
    monitor = HealthMonitor(reference)
    clean = many_clean(reference, 20)
    play(monitor, clean[:10])
    other = fork(monitor)
    assert other.reference is reference
    play(other, many_foggy(reference, 5))
    again = HealthMonitor(reference)
    assert np.array_equal(play(monitor, clean[10:]).score, play(again, clean).score[10:])


def test_a_sequence_of_one_scan_is_none() -> None:
    reference = make_reference()
    with pytest.raises(DataError, match="two scans"):
        PreparedSequence(reference, {CLEAN: many_clean(reference, 1)}, SequenceSettings())


def test_confusion_counts_guesses() -> None:
    guessed = ["fog", "fog", "rain", "", "fog", "unknown"]
    matrix = confusion(guessed, ["fog", "fog", "fog", "", "", "rain"])
    assert matrix.true_kinds == ("fog", "rain", "none")
    assert matrix.predicted_kinds == ("fog", "rain", "unknown", "none")
    assert matrix.counts.tolist() == [[2, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1]]
    assert matrix.accuracy == pytest.approx((2 / 3 + 0 + 1 / 2) / 3)
    lines = confusion_lines(matrix)
    assert lines[1].split() == ["fog", "67%", "33%", "0%", "0%", "3"]
    assert kinds_of(["fog", "", "unknown"], {"fog": "weather"}) == ["weather", "", "unknown"]
    with pytest.raises(ValueError, match="2 guesses for 1"):
        confusion(["a", "b"], ["a"])
