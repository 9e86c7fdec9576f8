# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""LiDAR 3D detection that reports, from its own layer entropies, when its input has gone bad."""

from pkgutil import extend_path

# The generated messages (`eloss_perception.msg`) are built by colcon into a package of this same
# name elsewhere on the path; merging both lets a source checkout and the built messages coexist.
__path__ = extend_path(__path__, __name__)

__version__ = "0.4.0"
