# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The evidence behind the health score's design, from simulated drives alone.

The readings of short simulated drives under every corruption are collected once (some ten minutes
on one core, kept in --cache). References are then fitted on one half of the drives and judged on
the other, both ways round: the score as shipped; without each check and with one check only; the
plain distance from clean; and with each corruption in turn left out of the profiles, to see what is
made of a disturbance that nobody has foreseen.

    ./run python benchmarks/health_design.py --json health_design.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eloss_perception.calibration.profiles import collect_profiles
from eloss_perception.evaluation.health.statistics import auroc, fpr_at_tpr, spearman
from eloss_perception.health.fit import ProfileReadings, fit_reference
from eloss_perception.health.judge import HealthJudge
from eloss_perception.health.readings import check_of, checks_of, reading_names
from eloss_perception.health.reference import Condition, HealthReference
from eloss_perception.interrupts import run_script
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.runtime.detector import Detector
from eloss_perception.simulation.drive import simulate_scan

# Scenes of `eloss calibrate`, so that this is the evidence behind what is shipped.
_CLEAN_SEED = 770_000
_DANGEROUS, _HARMLESS = 10.0, 2.0

Score = Callable[[HealthReference, np.ndarray], np.ndarray]


class Collected(NamedTuple):
    """Readings of clean scans and of corrupted drives."""

    clean: np.ndarray
    profiles: ProfileReadings


class Row(NamedTuple):
    """How well a score does."""

    mean_auroc: float
    spearman: float
    num_dangerous_missed: int
    num_dangerous: int
    harmless_quiet: float
    dangerous_alarmed: float


def collect(bundle: Bundle, num_scans: int, num_drives: int, cache: Path) -> Collected:
    """Reads scans and drives, or the cache of an earlier run."""
    if not cache.exists():
        detector = Detector(bundle, settings=BackendSettings(num_threads=1))
        clean = np.array(
            [detector.detect(simulate_scan(_CLEAN_SEED + i).points).readings
             for i in range(num_scans)]
        )  # fmt: skip
        profiles = collect_profiles(
            bundle,
            num_drives,
            num_threads=1,
            progress=lambda done: print(f"\rscan {done} ", end="", file=sys.stderr),
        )
        save(cache, Collected(clean, profiles))
    with np.load(cache) as file:
        conditions = [
            (str(n), int(s)) for n, s in zip(file["names"], file["severities"], strict=True)
        ]
        profiles = ProfileReadings(
            before=file["before"],
            clean=file["last"],
            corrupted=dict(zip(conditions, file["corrupted"], strict=True)),
            ap_loss=dict(zip(conditions, file["harm"].tolist(), strict=True)),
        )
        return Collected(file["clean"], profiles)


def save(path: Path, collected: Collected) -> None:
    """Keeps what was read."""
    clean, profiles = collected
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        clean=clean,
        before=profiles.before,
        last=profiles.clean,
        corrupted=np.array(list(profiles.corrupted.values())),
        names=np.array([name for name, _ in profiles.corrupted]),
        severities=np.array([severity for _, severity in profiles.corrupted]),
        ap_loss=np.array([profiles.ap_loss[c] for c in profiles.corrupted]),
    )


def part(
    collected: Collected,
    drives: np.ndarray,
    columns: np.ndarray,
    conditions: Iterable[Condition] | None = None,
) -> Collected:
    """Some drives, readings and conditions of what was read."""
    profiles = collected.profiles
    conditions = list(profiles.corrupted if conditions is None else conditions)
    return Collected(
        collected.clean[:, columns],
        ProfileReadings(
            before=profiles.before[drives][:, columns],
            clean=profiles.clean[drives][:, columns],
            corrupted={c: profiles.corrupted[c][drives][:, columns] for c in conditions},
            ap_loss={c: profiles.ap_loss[c] for c in conditions},
        ),
    )


def fit(bundle: Bundle, names: tuple[str, ...], data: Collected) -> HealthReference:
    """A reference for some of the readings."""
    layers = [n.partition(".")[2] for n in names if check_of(n) == "entropy"]
    stages = dict(zip(bundle.facts.layer_names, bundle.facts.layer_stages, strict=True))
    reference = fit_reference(
        data.clean, data.clean, data.profiles, tuple(layers), tuple(stages[n] for n in layers),
        names, "simulation", 1.0,
    )  # fmt: skip
    # The sensor is known here: no gap to bridge.
    return replace(reference, gap=np.zeros_like(reference.gap))


def judged(
    bundle: Bundle,
    collected: Collected,
    columns: np.ndarray,
    score: Score = lambda r, x: HealthJudge(r).score(x),
    leave_out: bool = False,
) -> Row:
    """Scores each half of the drives by the other one's reference."""
    names = tuple(np.array(reading_names(bundle.facts.layer_names))[columns])
    drives = np.arange(len(collected.profiles.clean))
    conditions = list(collected.profiles.corrupted)
    groups = [[c for c in conditions if c[0] == n] for n in dict.fromkeys(n for n, _ in conditions)]
    clean: list[np.ndarray] = []
    scores: dict[Condition, list[np.ndarray]] = {c: [] for c in conditions}
    for half in (0, 1):
        tested = part(collected, drives[drives % 2 == half], columns).profiles
        known = drives[drives % 2 != half]
        everything = fit(bundle, names, part(collected, known, columns))
        clean.append(score(everything, tested.clean))
        for group in groups:
            reference = everything
            if leave_out:
                others = [c for c in conditions if c not in group]
                reference = fit(bundle, names, part(collected, known, columns, others))
            for c in group:
                scores[c].append(score(reference, tested.corrupted[c]))
    return summary(
        np.concatenate(clean),
        {c: np.concatenate(rows) for c, rows in scores.items()},
        collected.profiles.ap_loss,
        everything.threshold,
    )


def summary(
    clean: np.ndarray, scores: dict[Condition, np.ndarray], harm: dict[Condition, float],
    threshold: float,
) -> Row:  # fmt: skip
    """What the bars of the benchmark ask, in one row."""
    dangerous = [c for c in scores if harm[c] >= _DANGEROUS]
    harmless = [c for c in scores if harm[c] <= _HARMLESS]
    missed = [
        c for c in dangerous
        if auroc(clean, scores[c]) < 0.95 or fpr_at_tpr(clean, scores[c]) > 0.15
    ]  # fmt: skip
    means = np.array([np.minimum(scores[c], 1e6).mean() for c in scores])
    drops = np.array([harm[c] for c in scores])
    return Row(
        mean_auroc=float(np.mean([auroc(clean, values) for values in scores.values()])),
        spearman=spearman(means, drops),
        num_dangerous_missed=len(missed),
        num_dangerous=len(dangerous),
        harmless_quiet=float(np.mean([(scores[c] < threshold).mean() for c in harmless])),
        dangerous_alarmed=float(np.mean([(scores[c] >= threshold).mean() for c in dangerous])),
    )


def main() -> None:
    """Prints the table and writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, help="default: the shipped one")
    parser.add_argument("--scans", type=int, default=400)
    parser.add_argument("--drives", type=int, default=60)
    parser.add_argument("--cache", type=Path, default=Path("runs") / "health_design.npz")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    arguments = parser.parse_args()
    bundle = Bundle.load_uncalibrated(arguments.bundle or default_bundle_path())
    collected = collect(bundle, arguments.scans, arguments.drives, arguments.cache)
    names = np.array(reading_names(bundle.facts.layer_names))
    checks = np.array([check_of(name) for name in names])
    everything = np.arange(len(names))
    network = np.isin(checks, ("entropy", "scale"))
    rows = {
        "as shipped": judged(bundle, collected, everything),
        "distance from clean only": judged(
            bundle, collected, everything, lambda r, x: HealthJudge(r).judge(x).distance
        ),
        "a corruption left out": judged(bundle, collected, everything, leave_out=True),
        "network's readings only": judged(bundle, collected, everything[network]),
        "scan's readings only": judged(bundle, collected, everything[~network]),
    }
    for check in checks_of(tuple(names)):
        rows[f"without {check}"] = judged(bundle, collected, everything[checks != check])
    for check in checks_of(tuple(names)):
        rows[f"{check} only"] = judged(bundle, collected, everything[checks == check])
    print(f"{'':28}{'AUROC':>8}{'Spearman':>10}{'missed':>9}{'quiet':>8}{'alarmed':>9}")
    for label, row in rows.items():
        print(
            f"{label:28}{row.mean_auroc:8.3f}{row.spearman:10.2f}"
            f"{row.num_dangerous_missed:6d}/{row.num_dangerous}{row.harmless_quiet:8.0%}"
            f"{row.dangerous_alarmed:9.0%}"
        )
    if arguments.json:
        values = {label: row._asdict() for label, row in rows.items()}
        arguments.json.write_text(json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
