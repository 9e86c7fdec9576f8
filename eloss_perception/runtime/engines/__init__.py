# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines: built on the machine that runs them, kept in a cache."""
