# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What GPU backends share: the CUDA driver, and the pillarizer that runs there."""
