# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of scans, boxes and entropy health: scans by Pillow, charts by matplotlib."""
