# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Streets drawn at random, and all that stands and moves on them."""

from eloss_perception.simulation.street.street import Street, make_street

__all__ = ["Street", "make_street"]
