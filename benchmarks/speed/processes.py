# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the kernel says of a process: its memory and its processor time."""

from __future__ import annotations

import os
from pathlib import Path

from eloss_perception.errors import ElossError


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, all threads together; 0 once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # Fields 14 and 15 of proc(5), counted from the state, which is the third.
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Resident memory of a process [MB].

    Raises:
        ElossError: It has ended.
    """
    try:
        num_pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        raise ElossError("the detector has ended") from None
    return num_pages * os.sysconf("SC_PAGE_SIZE") / 1e6
