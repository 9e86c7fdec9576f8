# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The subcommands of `eloss`, one file each: `add_parser` declares it, `run` does it.

At the top of these files only the standard library is imported, so that `eloss --help` is instant.
"""
