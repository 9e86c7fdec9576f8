# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How many cores this process and its children share."""

from __future__ import annotations

import os


def use_cores(num_cores: int) -> None:
    """Leaves this process and its children the first cores that it has; 0 leaves it all.

    To be called before anything starts a thread: a thread that runs already keeps its cores.
    """
    if num_cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:num_cores])
