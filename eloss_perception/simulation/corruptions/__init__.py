# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Scans degraded by weather, failing hardware or wrong drivers, each at five severities.

Every corruption takes points (N, 4) float32 (x, y, z in metres in the LiDAR frame, intensity in [0,
1]), a severity of 1 to 5 and a seed, and returns new points. The input is never written to, and the
same arguments give the same result bit for bit.

- `table`: all of them by name, with what the severities mean and where the numbers come from, and
  how one is put on a scan.
- `weather`, `sensor`, `noise` (and loss), `driver` (and mounting): one function each.
- `precipitation` (flakes and drops in a beam), `scan` (the receiver, the road, directions): what
  several share.
"""

from eloss_perception.simulation.corruptions.scan import PointArray
from eloss_perception.simulation.corruptions.table import (
    CORRUPTIONS,
    KINDS,
    SEVERITIES,
    Corruption,
    corrupt,
)

CORRUPTIONS_VERSION = 1
"""To be raised with any change of what a corruption does: what is kept of one is made anew."""

__all__ = [
    "CORRUPTIONS",
    "CORRUPTIONS_VERSION",
    "KINDS",
    "SEVERITIES",
    "Corruption",
    "PointArray",
    "corrupt",
]
