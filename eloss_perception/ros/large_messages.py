# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Makes Fast DDS fit for scans of 2 MB in this process, unless the user has configured it."""

from __future__ import annotations

import os
from pathlib import Path

# Fast DDS 2 (Humble, Jazzy) and 3 (later) look at different names.
_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_PROFILE = Path("config") / "fastdds_large_messages.xml"


def prepare_for_large_messages() -> None:
    """Names our profile to Fast DDS; to be called before rclpy is initialised.

    Other middleware ignores the variables. Where the profile is not installed nothing changes.
    """
    if any(name in os.environ for name in _VARIABLES):
        return
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    candidates = [Path(__file__).resolve().parents[2] / _PROFILE]
    candidates += [Path(p) / "share" / "eloss_perception" / _PROFILE for p in prefixes if p]
    for path in candidates:
        if path.is_file():
            for name in _VARIABLES:
                os.environ[name] = str(path)
            return
