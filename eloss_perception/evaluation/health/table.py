# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A health benchmark as text for a terminal."""

from __future__ import annotations

from typing import Any

import numpy as np

from eloss_perception.evaluation.health.acceptance import judge
from eloss_perception.evaluation.health.protocols import (
    NONE,
    Confusion,
    confusion_lines,
)

Document = dict[str, Any]

_NAME_WIDTH = 18
_PASSED = {True: "yes", False: "NO", None: "-"}
_KIND_SIGNS = {"dangerous": "D", "harmless": "h", "": "-"}
_ALARM = "alarm"
_CLEAN_PARTS = (("clean", "clean sequences"), ("clean_drives", "clean simulated drives"))

# Conditions in which the layer entropies are named as making the alarm: entropy alone tells them
# this well, and better than all input statistics together.
_CLEAR_AUROC = 0.9


def format_report(document: Document) -> str:
    """Return the whole report: data, conditions, scores, and the demands."""
    protocols = list(document["protocols"])
    lines = [*_header(document), ""]
    for protocol in protocols:
        lines += [*_condition_lines(document, protocol), ""]
    for protocol in protocols:
        lines += [*_score_lines(document, protocol), ""]
    for protocol in protocols:
        lines += [*_cause_lines(document, protocol), ""]
    for protocol, section in document["sequences"].items():
        lines += [*_sequence_lines(section, protocol), ""]
    for protocol in protocols:
        lines += [*bar_lines(document, protocol), ""]
    return "\n".join(lines).rstrip() + "\n"


def bar_lines(document: Document, protocol: str) -> list[str]:
    """Return one line for each demand."""
    return [
        f"demands, {protocol}:",
        *(
            f"  {_PASSED[bar.passed]:<4}{bar.what}: {bar.measured}"
            for bar in judge(document, protocol)
        ),
    ]


def _header(document: Document) -> list[str]:
    bundle, data = document["bundle"], document["data"]
    ap = document["harm"]["clean"]["ap"]
    return [
        f"bundle {bundle['name']} ({bundle['onnx_sha256'][:12]}), reference: {bundle['reference']}",
        f"data: {'; '.join(data['sources'])}",
        f"{data['num_frames']} frames, {data['num_objects']} cars that count",
        f"clean: Car BEV@0.5 {ap['bev']:.1f}, 3D@0.5 {ap['3d']:.1f} (AP R40, moderate, %)",
    ]


def _condition_lines(document: Document, protocol: str) -> list[str]:
    """Return a row for each corruption, its severities side by side."""
    section = document["protocols"][protocol]
    rows = section["scores"][_ALARM]["conditions"]
    sequence = document["sequences"].get(protocol) or {"conditions": {}}
    names: dict[str, list[int]] = {}
    for label in rows:
        name, _, severity = label.partition(":")
        names.setdefault(name, []).append(int(severity))
    severities = sorted({severity for found in names.values() for severity in found})
    titles = ["AUROC", "AP drop", "odd [%]"]
    if sequence["conditions"]:
        titles.append("OK [%]")
    width = 4 * len(severities)
    numbers = "".join(f"{severity:>4}" for severity in severities)
    lines = [
        f"{protocol}: alarm score by severity",
        "AUROC of single frames; larger AP drop of BEV and 3D; share of single frames over the "
        "threshold (odd)"
        + (", and of frames of a sequence at level OK" if sequence["conditions"] else "")
        + "; harm: D dangerous, h harmless",
        f"{'':<{_NAME_WIDTH}}" + "".join(f" | {title[:width]:<{width}}" for title in titles),
        f"{'corruption':<{_NAME_WIDTH}}" + f" | {numbers}" * len(titles) + " | harm",
    ]
    for name in names:
        labels = [f"{name}:{severity}" for severity in severities]
        cells = [
            "".join(_auroc_cell(rows.get(label)) for label in labels),
            "".join(_cell(document["harm"].get(label, {}).get("worst_drop")) for label in labels),
            "".join(_percent(section["over_threshold"].get(label)) for label in labels),
        ]
        if sequence["conditions"]:
            shares = [sequence["conditions"].get(label, {}).get("share_ok") for label in labels]
            cells.append("".join(_percent(share) for share in shares))
        kinds = [document["harm"].get(label, {}).get("kind") for label in labels]
        signs = "".join(" " if kind is None else _KIND_SIGNS[kind] for kind in kinds)
        lines.append(
            f"{name:<{_NAME_WIDTH}}" + "".join(f" | {cell}" for cell in cells) + f" | {signs}"
        )
    return lines


def _score_lines(document: Document, protocol: str) -> list[str]:
    scores = document["protocols"][protocol]["scores"]
    lines = [
        f"{protocol}: all scores, mean AUROC over {len(scores[_ALARM]['conditions'])} conditions",
        f"{'score':<18}{'AUROC':>6}{'interval':>16}{'alarm - this':>14}{'interval':>18}"
        f"{'best on':>9}{'Spearman':>10}",
    ]
    order = sorted(scores, key=lambda name: -float(scores[name]["mean_auroc"]["value"]))
    for name in order:
        row = scores[name]
        mean, gap = row["mean_auroc"], row["alarm_minus_this"]
        lines.append(
            f"{name:<18}{mean['value']:>6.3f}{_interval(mean, '.3f'):>16}{gap['value']:>+14.3f}"
            f"{_interval(gap, '+.3f'):>18}{row['num_best']:>9}"
            f"{_optional(row['spearman_with_drop']['value'], '.2f'):>10}"
        )
    return [*lines, *_entropy_lines(document, protocol)]


def _entropy_lines(document: Document, protocol: str) -> list[str]:
    """Return where the layer entropies matter: alone, and to the alarm."""
    scores = document["protocols"][protocol]["scores"]
    entropy, inputs = (scores[name]["conditions"] for name in ("entropy", "input_statistics"))
    alone = [
        f"{label} ({row['auroc']['value']:.2f} against {inputs[label]['auroc']['value']:.2f})"
        for label, row in entropy.items()
        if row["auroc"]["value"] >= _CLEAR_AUROC
        and row["auroc"]["low"] is not None
        and row["auroc"]["low"] > inputs[label]["auroc"]["value"]
    ]
    gaps = scores["without_entropy"]["alarm_minus_this_by_condition"]
    sure = {label: gap for label, gap in gaps.items() if gap["low"] is not None}
    better = [f"{k} {gap['value']:+.2f}" for k, gap in sure.items() if gap["low"] > 0.0]
    worse = [f"{k} {gap['value']:+.2f}" for k, gap in sure.items() if gap["high"] < 0.0]
    return [
        "entropy alone tells what input statistics do not: " + (", ".join(alone) or "nothing"),
        "the alarm is better for the entropies on: " + (", ".join(better) or "nothing"),
        "the alarm is worse for the entropies on: " + (", ".join(worse) or "nothing"),
    ]


def _cause_lines(document: Document, protocol: str) -> list[str]:
    """Return the confusion of kinds, and how often each corruption itself is named."""
    causes = document["protocols"][protocol]["causes"]
    by_kind, by_name = (_confusion(causes[key]) for key in ("by_kind", "by_corruption"))
    rows = zip(by_name.true_kinds, by_name.counts, strict=True)
    shares = {
        name: row[by_name.predicted_kinds.index(name)] / max(1, row.sum()) for name, row in rows
    }
    named = ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if name != NONE)
    return [
        f"{protocol}: likely cause of single frames ({NONE}: not over the threshold)",
        *confusion_lines(by_kind),
        f"named itself: {named}",
    ]


def _confusion(section: Document) -> Confusion:
    return Confusion(
        tuple(section["true"]), tuple(section["guessed"]), np.array(section["num_frames"], np.int64)
    )


def _sequence_lines(section: Document, protocol: str) -> list[str]:
    lines = [
        f"{name}, {protocol}: {clean['num_frames']} frames, {clean['num_alarms']} alarms, "
        f"level OK in {clean['share_ok']:.1%}"
        for key, name in _CLEAN_PARTS
        if (clean := section[key])["num_frames"]
    ]
    if not section["conditions"]:
        return lines
    mean = section["mean_auroc"]
    lines.append(f"onsets, {protocol}: mean AUROC {mean['value']:.3f} {_interval(mean, '.3f')}")
    for name, part in section["parts"].items():
        value, gap = part["mean_auroc"], part["alarm_minus_this"]
        lines.append(
            f"  by {name} alone: {value['value']:.3f} {_interval(value, '.3f')}; "
            f"the alarm is {gap['value']:+.3f} {_interval(gap, '+.3f')} better"
        )
    lines.append(
        f"{'onset of':<22}{'AUROC':>7}{'FPR95':>7}{'OK':>6}"
        f"{'frames to WARN':>16}{'to ERROR':>14}{'to OK':>14}   (median / 9 of 10)"
    )
    for label, row in section["conditions"].items():
        delays = "".join(
            f"{_delay(row[key]):>{width}}"
            for key, width in (
                ("frames_to_warn", 16),
                ("frames_to_error", 14),
                ("frames_to_ok", 14),
            )
        )
        lines.append(
            f"{label:<22}{row['auroc']['value']:>7.2f}{row['fpr_at_95_tpr']:>7.0%}"
            f"{row['share_ok']:>6.0%}{delays}"
        )
    return lines


def _delay(delays: Document) -> str:
    return " / ".join(
        "never" if delays[key] is None else f"{delays[key]:.0f}" for key in ("median", "p90")
    )


def _auroc_cell(row: Document | None) -> str:
    if row is None:
        return f"{'':>4}"
    text = f"{row['auroc']['value']:.2f}"
    return f"{text[1:] if text[0] == '0' else text[:3]:>4}"


def _cell(value: float | None) -> str:
    return f"{'':>4}" if value is None else f"{round(value) + 0:>4d}"


def _percent(value: float | None) -> str:
    return _cell(None if value is None else 100.0 * value)


def _optional(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"


def _interval(value: Document, form: str) -> str:
    if value["low"] is None:
        return "-"
    return f"[{value['low']:{form}}, {value['high']:{form}}]"
