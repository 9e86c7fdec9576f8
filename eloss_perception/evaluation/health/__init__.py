# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the health score can be trusted: clean against corrupted, beside what it costs in AP."""
