# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The classes that the shipped networks tell apart; a label is an index into them."""

from __future__ import annotations

CLASS_NAMES = ("Car", "Pedestrian", "Cyclist")

IGNORED = -1
"""Label of an object that is neither to be found nor background (a van, a tram)."""
