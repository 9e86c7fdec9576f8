# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two results side by side, frame by frame: the same data through two networks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eloss_perception.errors import ConfigError
from eloss_perception.evaluation.health.comparison import paired_difference
from eloss_perception.evaluation.health.numbers import scores_of
from eloss_perception.evaluation.health.statistics import Estimate, auroc, draw_indices

Document = dict[str, Any]


def check_comparable(first: Document, second: Document) -> None:
    """Refuse results of other frames or other corruptions: nothing in them would be paired.

    Raises:
        ConfigError: If they differ.
    """
    for part, key in (("data", "sources"), ("data", "frame_ids"), ("settings", "seed")):
        if first[part][key] != second[part][key]:
            raise ConfigError(f"the results differ in {part}.{key}: they cannot be compared")


def compare_results(first: Document, second: Document, protocol: str) -> dict[str, Estimate]:
    """Mean AUROC of the second result less that of the first, by score.

    Args:
        first: A result of `eloss health`.
        second: Another of the same frames and corruptions, of another network.
        protocol: One that both have.

    Returns:
        The differences of the scores that both have, over the conditions that both have.

    Raises:
        ConfigError: If the results are not of the same frames, or lack the protocol.
    """
    check_comparable(first, second)
    for document in (first, second):
        if protocol not in document["protocols"]:
            raise ConfigError(f"a result has no protocol {protocol!r}")
    settings = first["settings"]
    draws = draw_indices(
        first["data"]["num_frames"],
        settings["num_resamples"],
        settings["block_length"],
        settings["seed"],
    )
    a, b = (d["protocols"][protocol]["frame_scores"] for d in (first, second))
    differences = {}
    for name in a:
        if name not in b:
            continue
        labels = [label for label in a[name]["corrupted"] if label in b[name]["corrupted"]]
        pairs = [[_pair(s[name], label) for label in labels] for s in (b, a)]
        differences[name] = paired_difference(pairs[0], pairs[1], draws, settings["confidence"])
    return differences


def comparison_lines(first: Document, second: Document, protocol: str) -> list[str]:
    """Return the table: a row for each score, then the conditions that differ most in entropy."""
    differences = compare_results(first, second, protocol)
    names = [f"{d['bundle']['name']} ({d['bundle']['onnx_sha256'][:8]})" for d in (first, second)]
    lines = [
        f"{protocol}: mean AUROC of {names[1]} less that of {names[0]}, paired by frame",
        f"{'score':<18}{'first':>8}{'second':>8}{'difference':>12}{'interval':>20}",
    ]
    for name, difference in differences.items():
        means = [
            d["protocols"][protocol]["scores"][name]["mean_auroc"]["value"] for d in (first, second)
        ]
        interval = f"[{difference.low:+.3f}, {difference.high:+.3f}]"
        lines.append(
            f"{name:<18}{means[0]:>8.3f}{means[1]:>8.3f}{difference.value:>+12.3f}{interval:>20}"
        )
    return [*lines, "", *_condition_lines(first, second, protocol, "entropy")]


def _condition_lines(first: Document, second: Document, protocol: str, score: str) -> list[str]:
    """Return the conditions in which a score differs most."""
    a, b = (d["protocols"][protocol]["frame_scores"][score] for d in (first, second))
    gaps = {
        label: auroc(*_pair(b, label)) - auroc(*_pair(a, label))
        for label in a["corrupted"]
        if label in b["corrupted"]
    }
    order = sorted(gaps, key=lambda label: -abs(gaps[label]))[:8]
    better = int(np.sum(np.array(list(gaps.values())) > 0.0))
    return [
        f"{score}: the second network tells {better} of {len(gaps)} conditions better; largest: "
        + ", ".join(f"{label} {gaps[label]:+.2f}" for label in order)
    ]


def _pair(scored: Document, label: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of the frames clean and under a condition."""
    name = label.partition(":")[0]
    clean = scored["own_clean"].get(name, scored["clean"])
    return scores_of(clean), scores_of(scored["corrupted"][label])
