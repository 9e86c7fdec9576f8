# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT-RTX, which parses and builds networks without a GPU, for tests."""

from __future__ import annotations

from typing import Any

import pytest

from eloss_perception.errors import BackendError
from eloss_perception.runtime.engines.library import load_checker


def rtx_or_skip() -> Any:
    try:
        trt = load_checker()
    except BackendError as error:
        pytest.skip(str(error))
    if "rtx" not in trt.__name__:
        pytest.skip("TensorRT needs a GPU to build; TensorRT-RTX is not installed")
    return trt
