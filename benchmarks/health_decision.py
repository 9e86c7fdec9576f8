# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From scores to a level: which rule over time alarms early, clears early and is quiet otherwise?

Simulated drives are read clean and under corruptions that last for their second third. The score of
each frame is the health monitor's; the rules under comparison turn it into an alarm: an
exponential average, some frames in a row, and a cumulative sum (Page 1954), each at several
settings. Nothing here looks at a real scan.

    ./run python benchmarks/health_decision.py --cache runs/health_decision.npz
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from eloss_perception.health.monitor import HealthMonitor
from eloss_perception.health.reference import HealthReference
from eloss_perception.interrupts import check_interrupt, run_script
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.runtime.detector import Detector
from eloss_perception.simulation.corruptions import CORRUPTIONS, corrupt
from eloss_perception.simulation.drive import simulate_drive

_SEED = 850_000
_THIRD = 12  # frames
_CAP = 36.0  # a frame's score counts up to here, as in the monitor
_DANGEROUS, _HARMLESS = 10.0, 2.0

# (T,) scores -> (T,) whether the alarm is on
Rule = Callable[[np.ndarray, float], np.ndarray]


def average(weight: float) -> Rule:
    """Exponential average over the threshold, off at 80 % of it."""

    def rule(scores: np.ndarray, threshold: float) -> np.ndarray:
        smoothed, on, alarms = 0.0, False, []
        for score in np.minimum(scores, _CAP):
            smoothed += weight * (score - smoothed)
            on = smoothed >= threshold * (0.8 if on else 1.0)
            alarms.append(on)
        return np.array(alarms)

    return rule


def confirmed_average(weight: float) -> Rule:
    """The same, on only with two anomalous frames in a row or one at the cap: the monitor's."""

    def rule(scores: np.ndarray, threshold: float) -> np.ndarray:
        smoothed, on, was_anomalous, alarms = 0.0, False, False, []
        for score in scores:
            smoothed += weight * (min(score, _CAP) - smoothed)
            is_anomalous = score >= threshold
            may_rise = (is_anomalous and was_anomalous) or score >= _CAP
            on = smoothed >= threshold * 0.8 if on else smoothed >= threshold and may_rise
            was_anomalous = is_anomalous
            alarms.append(on)
        return np.array(alarms)

    return rule


def in_a_row(raise_after: int, clear_after: int) -> Rule:
    """So many frames in a row over the threshold, or below it."""

    def rule(scores: np.ndarray, threshold: float) -> np.ndarray:
        on, streak, alarms = False, 0, []
        for score in scores:
            streak = streak + 1 if (score >= threshold) != on else 0
            if streak >= (clear_after if on else raise_after):
                on, streak = not on, 0
            alarms.append(on)
        return np.array(alarms)

    return rule


def cumulative_sum(slack: float, limit: float) -> Rule:
    """Sum of what exceeds ``slack`` thresholds, capped so that it can fall again."""

    def rule(scores: np.ndarray, threshold: float) -> np.ndarray:
        total, alarms = 0.0, []
        for score in np.minimum(scores, _CAP):
            total = min(max(0.0, total + score / threshold - slack), 2.0 * limit)
            alarms.append(total >= limit)
        return np.array(alarms)

    return rule


RULES: dict[str, Rule] = {
    "average, weight 1 (no memory)": average(1.0),
    "average, weight 0.6": average(0.6),
    "average, weight 0.4": average(0.4),
    "average, weight 0.4, two anomalous frames (chosen)": confirmed_average(0.4),
    "average, weight 0.2": average(0.2),
    "3 frames to raise, 5 to clear": in_a_row(3, 5),
    "2 frames to raise, 3 to clear": in_a_row(2, 3),
    "cumulative sum, slack 0.8, limit 1": cumulative_sum(0.8, 1.0),
    "cumulative sum, slack 0.8, limit 3": cumulative_sum(0.8, 3.0),
}


def conditions() -> list[tuple[str, int]]:
    """Every corruption at a mild and a heavy severity."""
    return [
        (name, severity)
        for name, corruption in CORRUPTIONS.items()
        if not corruption.needs_previous
        for severity in ((2, 4) if corruption.has_degree else (5,))
    ]


def collect(bundle: Bundle, num_drives: int, path: Path) -> None:
    """Reads the drives: clean throughout, and their second third under each condition."""
    detector = Detector(bundle, settings=BackendSettings(num_threads=1))
    clean, corrupted = [], []
    for drive in range(num_drives):
        scans = [frame.scan.points for frame in simulate_drive(_SEED + drive, 3 * _THIRD)]
        clean.append([detector.detect(points).readings for points in scans])
        rows = []
        for name, severity in conditions():
            check_interrupt()
            print(f"\rdrive {drive + 1} / {num_drives}: {name:20}", end="", file=sys.stderr)
            persistent = CORRUPTIONS[name].is_persistent
            rows.append(
                [
                    detector.detect(
                        corrupt(scans[k], name, severity, drive if persistent else 100 * drive + k)
                    ).readings
                    for k in range(_THIRD, 2 * _THIRD)
                ]
            )
        corrupted.append(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, clean=np.array(clean), corrupted=np.array(corrupted))


def scores_of(reference: HealthReference, readings: np.ndarray) -> np.ndarray:
    """(T,) the monitor's score of each of (T, R) consecutive frames."""
    monitor = HealthMonitor(reference)
    return np.array([monitor.update(row).score for row in readings])


def main() -> None:
    """Prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, help="default: the shipped one")
    parser.add_argument("--drives", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path("runs") / "health_decision.npz")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle or default_bundle_path())
    reference = bundle.require_health()
    if not arguments.cache.exists():
        collect(bundle, arguments.drives, arguments.cache)
    with np.load(arguments.cache) as file:
        clean, corrupted = file["clean"], file["corrupted"]
    profiles = reference.profiles
    ap_loss = dict(
        zip(zip(profiles.names, profiles.severities, strict=True), profiles.ap_loss, strict=True)
    )
    clean_scores = [scores_of(reference, drive) for drive in clean]
    courses: dict[str, list[np.ndarray]] = {"dangerous": [], "harmless": []}
    for index, condition in enumerate(conditions()):
        cost = ap_loss.get(condition, 0.0)
        kind = "dangerous" if cost >= _DANGEROUS else "harmless" if cost <= _HARMLESS else ""
        for drive, rows in zip(clean, corrupted, strict=True):
            if kind:
                course = drive.copy()
                course[_THIRD : 2 * _THIRD] = rows[index]
                courses[kind].append(scores_of(reference, course))
    result = {}
    threshold = reference.threshold
    print(f"{'':46}{'false':>7}{'found':>8}{'delay':>8}{'clear':>8}{'quiet':>8}")
    for name, rule in RULES.items():
        false = [rule(scores, threshold) for scores in clean_scores]
        alarms = [rule(scores, threshold) for scores in courses["dangerous"]]
        quiet = [rule(scores, threshold)[_THIRD : 2 * _THIRD] for scores in courses["harmless"]]
        during = np.array([alarm[_THIRD : 2 * _THIRD] for alarm in alarms])
        after = np.array([alarm[2 * _THIRD :] for alarm in alarms])
        found = during.any(axis=1)
        ended = found & during[:, -1]
        row = {
            "false_alarm_frames": float(np.mean(false)),
            "found": float(found.mean()),
            "median_frames_to_alarm": float(np.median(during[found].argmax(axis=1) + 1)),
            "p90_frames_to_clear": float(np.quantile((~after[ended]).argmax(axis=1) + 1, 0.9)),
            "quiet": float(1.0 - np.mean(quiet)),
        }
        result[name] = row
        print(
            f"{name:46}{row['false_alarm_frames']:7.1%}{row['found']:8.1%}"
            f"{row['median_frames_to_alarm']:8.0f}{row['p90_frames_to_clear']:8.0f}"
            f"{row['quiet']:8.1%}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
