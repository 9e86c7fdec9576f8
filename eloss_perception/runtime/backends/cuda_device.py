# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Is there a GPU? Asked of the driver itself, in no time, before anything large is loaded."""

from __future__ import annotations

import ctypes

from eloss_perception.errors import BackendError

_DRIVER = "libcuda.so.1"


def require_cuda_device(device_index: int) -> None:
    """Checks that the driver knows a GPU.

    Args:
        device_index: Which GPU.

    Raises:
        BackendError: If there is no driver, or no such GPU.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        raise BackendError(f"no NVIDIA driver here ({_DRIVER} is not installed)") from None
    # CUDA driver API: both return 0 for success.
    status = driver.cuInit(0)
    if status != 0:
        raise BackendError(f"the NVIDIA driver finds no GPU to use (cuInit returned {status})")
    count = ctypes.c_int(0)
    status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0:
        raise BackendError(f"the NVIDIA driver cannot count its GPUs (error {status})")
    if device_index >= count.value:
        raise BackendError(
            f"there is no GPU {device_index}: the driver has {count.value}, counted from 0"
        )
