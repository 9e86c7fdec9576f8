# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a trustworthy monitor has to show, each demand against what was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Document = dict[str, Any]

MIN_DANGEROUS_AUROC = 0.95
MAX_DANGEROUS_FPR = 0.15
MIN_MEAN_AUROC = 0.88
MIN_SEQUENCE_AUROC = 0.94
MIN_SHARE_OK = 0.90
MIN_SPEARMAN = 0.80
RATE_FACTOR = 2.0
MAX_ALARMS_PER_HOUR = 1.0
# How long a vehicle is in one place as the calibration has it.
EVENT_S = 5.0
MAX_FRAMES_TO_ERROR = 3
MAX_FRAMES_TO_OK = 10

_SEVEREST = 5
_ALARM = "alarm"
_MOST_NAMED = 6


class Bar(NamedTuple):
    """One demand.

    Attributes:
        what: What is demanded of what.
        measured: What was found, in words.
        passed: Whether it is enough; None where nothing to judge was measured.
    """

    what: str
    measured: str
    passed: bool | None


def judge(document: Document, protocol: str) -> list[Bar]:
    """Return every demand, judged by one protocol of a result."""
    checks: tuple[Callable[[Document, str], Bar], ...] = (
        _dangerous,
        _mean_auroc,
        _sequence_auroc,
        _baselines,
        _harmless,
        _spearman,
        _single_false_alarms,
        _sequence_alarms,
        _drive_alarms,
        _delay,
        _recovery,
    )
    return [check(document, protocol) for check in checks]


def labels_of(document: Document, kind: str) -> list[str]:
    """Return the conditions of a kind of harm."""
    return [label for label, harm in document["harm"].items() if harm["kind"] == kind]


def _dangerous(document: Document, protocol: str) -> Bar:
    what = (
        f"dangerous conditions: AUROC >= {MIN_DANGEROUS_AUROC} and FPR at 95 % TPR <= "
        f"{MAX_DANGEROUS_FPR:.0%} each"
    )
    rows = document["protocols"][protocol]["scores"][_ALARM]["conditions"]
    labels = labels_of(document, "dangerous")
    if not labels:
        return Bar(what, "no condition is dangerous", None)
    failed = {
        label: (rows[label]["auroc"]["value"], rows[label]["fpr_at_95_tpr"]["value"])
        for label in labels
        if rows[label]["auroc"]["value"] < MIN_DANGEROUS_AUROC
        or rows[label]["fpr_at_95_tpr"]["value"] > MAX_DANGEROUS_FPR
    }
    worst = sorted(failed.items(), key=lambda item: item[1][0])
    text = ", ".join(
        f"{label} {auroc:.2f} / {fpr:.0%}" for label, (auroc, fpr) in worst[:_MOST_NAMED]
    )
    return Bar(
        what,
        f"{len(labels) - len(failed)} of {len(labels)}"
        + (f"; not: {text}" if text else "")
        + (", ..." if len(worst) > _MOST_NAMED else ""),
        not failed,
    )


def _mean_auroc(document: Document, protocol: str) -> Bar:
    value = document["protocols"][protocol]["scores"][_ALARM]["mean_auroc"]
    what = f"mean AUROC of single frames >= {MIN_MEAN_AUROC}"
    return Bar(what, _with_interval(value), value["value"] >= MIN_MEAN_AUROC)


def _sequence_auroc(document: Document, protocol: str) -> Bar:
    what = f"mean AUROC of onsets in sequences >= {MIN_SEQUENCE_AUROC}"
    section = document["sequences"].get(protocol)
    if section is None or section["mean_auroc"]["value"] is None:
        return Bar(what, "no sequence was corrupted", None)
    value = section["mean_auroc"]
    return Bar(what, _with_interval(value), value["value"] >= MIN_SEQUENCE_AUROC)


def _baselines(document: Document, protocol: str) -> Bar:
    scores = document["protocols"][protocol]["scores"]
    baselines = {name: row for name, row in scores.items() if row["is_baseline"]}
    name, closest = min(
        baselines.items(), key=lambda item: float(item[1]["alarm_minus_this"]["value"])
    )
    gap = closest["alarm_minus_this"]
    return Bar(
        "mean AUROC not below any baseline's",
        f"closest is {name}: alarm {_with_interval(gap, '+.3f')} above",
        gap["value"] >= 0.0,
    )


def _harmless(document: Document, protocol: str) -> Bar:
    what = f"harmless conditions: level OK in >= {MIN_SHARE_OK:.0%} of frames each"
    labels = labels_of(document, "harmless")
    section = document["sequences"].get(protocol)
    if section is not None and section["conditions"]:
        shares = {k: row["share_ok"] for k, row in section["conditions"].items() if k in labels}
        where = "in sequences"
    else:
        over = document["protocols"][protocol]["over_threshold"]
        shares = {label: 1.0 - over[label] for label in labels}
        where = "of single frames, without hysteresis"
    if not shares:
        return Bar(what, "no condition is harmless", None)
    failed = sorted((share, label) for label, share in shares.items() if share < MIN_SHARE_OK)
    text = ", ".join(f"{label} {share:.0%}" for share, label in failed[:_MOST_NAMED])
    more = ", ..." if len(failed) > _MOST_NAMED else ""
    return Bar(
        what,
        f"{len(shares) - len(failed)} of {len(shares)} {where}"
        + (f"; not: {text}{more}" if text else ""),
        not failed,
    )


def _spearman(document: Document, protocol: str) -> Bar:
    value = document["protocols"][protocol]["scores"][_ALARM]["spearman_with_drop"]
    what = f"Spearman of score with AP drop >= {MIN_SPEARMAN}"
    if value["value"] is None:
        return Bar(what, "fewer than three conditions", None)
    return Bar(what, _with_interval(value), value["value"] >= MIN_SPEARMAN)


def _single_false_alarms(document: Document, protocol: str) -> Bar:
    """Judge the share of clean frames that are odd, each taken for an event of some seconds."""
    what = f"clean frames over the threshold: within a factor {RATE_FACTOR:g} of the stated rate"
    share = document["protocols"][protocol]["clean_over_threshold"]
    stated = document["bundle"]["false_alarms_per_hour"]
    expected = stated * EVENT_S / 3600.0
    measured = (
        f"{_with_interval(share, '.1%')}; {stated:g} an hour is {expected:.2%} of places "
        f"passed in {EVENT_S:g} s"
    )
    # A few dozen frames cannot show less than a percent: only what they refute is refuted.
    return Bar(what, measured, share["low"] <= RATE_FACTOR * expected)


def _sequence_alarms(document: Document, protocol: str) -> Bar:
    what = "no alarm on the tested sequences while they are clean"
    clean = _clean(document, protocol, "clean")
    if clean is None:
        return Bar(what, "no sequence was played", None)
    return Bar(what, _alarms(clean), clean["num_alarms"] == 0)


def _drive_alarms(document: Document, protocol: str) -> Bar:
    what = f"alarms in simulated clean driving <= {MAX_ALARMS_PER_HOUR:g} an hour"
    clean = _clean(document, protocol, "clean_drives")
    if clean is None:
        return Bar(what, "no drive was played", None)
    return Bar(what, _alarms(clean), clean["alarms_per_hour"] <= MAX_ALARMS_PER_HOUR)


def _clean(document: Document, protocol: str, key: str) -> Document | None:
    section = document["sequences"].get(protocol)
    if section is None or not section[key]["num_frames"]:
        return None
    found: Document = section[key]
    return found


def _alarms(clean: Document) -> str:
    return (
        f"{clean['num_alarms']} in {60.0 * clean['hours']:.1f} min "
        f"(95 % sure: at most {clean['alarms_per_hour_at_most']:.1f} an hour)"
    )


def _delay(document: Document, protocol: str) -> Bar:
    what = f"ERROR within {MAX_FRAMES_TO_ERROR} frames of a severe fault (median)"
    return _in_time(document, protocol, what, "frames_to_error", "median", MAX_FRAMES_TO_ERROR)


def _recovery(document: Document, protocol: str) -> Bar:
    what = f"OK within {MAX_FRAMES_TO_OK} frames of its end (nine tenths of them)"
    return _in_time(document, protocol, what, "frames_to_ok", "p90", MAX_FRAMES_TO_OK)


def _in_time(
    document: Document, protocol: str, what: str, key: str, statistic: str, limit: int
) -> Bar:
    rows = _severe(document, protocol)
    if not rows:
        return Bar(what, "no severe fault in a sequence", None)
    frames = {label: row[key][statistic] for label, row in rows.items()}
    slow = [label for label, number in frames.items() if number is None or number > limit]
    return Bar(what, _all_but(rows, slow), not slow)


def _severe(document: Document, protocol: str) -> Document:
    """Return the dangerous conditions of the highest severity in sequences."""
    section = document["sequences"].get(protocol) or {"conditions": {}}
    dangerous = labels_of(document, "dangerous")
    return {
        label: row
        for label, row in section["conditions"].items()
        if label in dangerous and label.endswith(f":{_SEVEREST}")
    }


def _all_but(rows: Document, failed: list[str]) -> str:
    more = ", ..." if len(failed) > _MOST_NAMED else ""
    named = ", ".join(failed[:_MOST_NAMED])
    return f"{len(rows) - len(failed)} of {len(rows)}" + (f"; not: {named}{more}" if failed else "")


def _with_interval(value: Document, form: str = ".3f") -> str:
    if value["low"] is None:
        return f"{value['value']:{form}}"
    return f"{value['value']:{form}} [{value['low']:{form}}, {value['high']:{form}}]"
