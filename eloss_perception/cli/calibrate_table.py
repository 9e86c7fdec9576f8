# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A health reference as tables for the terminal."""

from __future__ import annotations

import numpy as np

from eloss_perception.cli.terminal import format_table
from eloss_perception.detection.sensors import NETWORK_SENSOR_HEIGHT
from eloss_perception.health.readings import check_of
from eloss_perception.health.reference import HealthReference

# The bands that a report's layer_mean and layer_std span in the views.
_BAND_STD = 2.0
# Ground further than this from where the network expects it [m]: the boxes' heights suffer.
_MAX_HEIGHT_ERROR = 0.25


def reference_table(reference: HealthReference, before: HealthReference | None) -> str:
    """Return frames, normal bands and limits of a reference.

    Args:
        reference: The reference.
        before: What it was moved from, to tell by how much; None for a new one.
    """
    profiles = reference.profiles
    lines = [
        f"{reference.num_frames} clean frames, {len(profiles.names)} profiles of "
        f"{len(set(profiles.names))} known disturbances, normal eloss {reference.eloss_normal:.3e}",
        "",
        _layer_table(reference, before),
        "",
        _check_table(reference, before),
    ]
    height = _ground_height(reference)
    if height == 0.0:  # see health/ground.py
        lines += ["", "note: no ground was found below the sensor; check its mounting"]
    elif abs(height + NETWORK_SENSOR_HEIGHT) > _MAX_HEIGHT_ERROR:
        lines += [
            "",
            f"note: the ground lies at z = {height:.2f} m, where the network expects "
            f"{-NETWORK_SENSOR_HEIGHT:.2f} m; check the mounting height",
        ]
    return "\n".join(lines)


def _layer_table(reference: HealthReference, before: HealthReference | None) -> str:
    """The layers' normal bands, and how far they moved in standard deviations."""
    header, rows = ["layer", "normal entropy", "to"], []
    for index, name in enumerate(reference.layer_names):
        mean = reference.layer_mean[index]
        reach = _BAND_STD * reference.layer_std[index]
        row = [name, f"{mean - reach:.3f}", f"{mean + reach:.3f}"]
        if before is not None:
            row.append(f"{(mean - before.layer_mean[index]) / before.layer_std[index]:+.1f}")
        rows.append(row)
    return format_table([*header, "moved [std]"] if before is not None else header, rows)


def _check_table(reference: HealthReference, before: HealthReference | None) -> str:
    """The checks' limits: the deviation that one in a hundred clean frames exceeds."""
    header, rows = ["check", "readings", "limit [std]"], []
    for check, limit in zip(reference.checks, reference.check_limits, strict=True):
        members = np.array([check_of(name) == check for name in reference.reading_names])
        row = [check, str(members.sum()), f"{np.sinh(limit):.2f}"]
        if before is not None:
            moved = (reference.mean - before.mean)[members] / before.std[members]
            row.append(f"{np.sqrt((moved**2).mean()):.1f}")
        rows.append(row)
    return format_table([*header, "moved [std]"] if before is not None else header, rows)


def _ground_height(reference: HealthReference) -> float:
    return float(reference.mean[reference.reading_names.index("ground.height")])
