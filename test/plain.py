# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The plain versions of the node's steps, and what times them, from the folder of benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import host_time
import plain_messages

__all__ = ["host_time", "plain_messages"]
