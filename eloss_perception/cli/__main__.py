# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m eloss_perception.cli`: the `eloss` command where it is not installed."""

from eloss_perception.cli import main

raise SystemExit(main())
