# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""LiDAR 3D detection that reports, from its own layer entropies, when its input has gone bad."""

import os
import sys
from pkgutil import extend_path

from eloss_perception.moved import MovedModules

# From 1.29 on ONNX Runtime's Linux builds send usage data home unless told not to before they are
# imported. A vehicle has no business with that, nor has a desk.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# The generated messages (`eloss_perception.msg`) are built by colcon into a package of this same
# name elsewhere on the path; merging both lets a source checkout and the built messages coexist.
__path__ = extend_path(__path__, __name__)

# Ahead of the folders: where a whole package has moved, they would load its modules twice.
sys.meta_path.insert(0, MovedModules())

__version__ = "0.4.0"
