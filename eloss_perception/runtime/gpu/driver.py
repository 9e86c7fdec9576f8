# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calls into NVIDIA's driver and compiler, with every status checked.

Through ``cuda.bindings`` of cuda-python, not CuPy: at most a tenth of the download, one name for
CUDA 12 and 13, and CuPy's arrays are not needed, since the kernels are our own and TensorRT takes
addresses. From 12.9.1 on its calls release the GIL while they wait for the GPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from eloss_perception.errors import BackendError

_DRIVER = "libcuda.so.1"


def require_cuda_device(device_index: int) -> None:
    """Asks the driver itself for a GPU, at once, before anything large is loaded.

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


class CudaDriver:
    """The CUDA driver.

    Attributes:
        bindings: ``cuda.bindings.driver``, for its types and constants.
    """

    def __init__(self) -> None:
        """Starts it.

        Raises:
            BackendError: If the bindings are not installed, or there is no driver or no GPU.
        """
        self.bindings = _load("driver")
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls a function.

        Returns:
            Its results without the status: None, a value or a tuple of values.

        Raises:
            BackendError: If it fails; the text names the function.
        """
        return _call(self.bindings, name, arguments, self._reason)

    def address(self, handle: Any) -> int:
        """Returns the address of a handle, such as a stream, as other libraries take it."""
        return int(_load("utils").get_cuda_native_handle(handle))

    def _reason(self, status: Any) -> str:
        found, text = self.bindings.cuGetErrorString(status)
        name = str(getattr(status, "name", status))
        return f"{name} ({text.decode()})" if int(found) == 0 and text else name


class Nvrtc:
    """NVIDIA's run-time compiler, which needs no GPU."""

    def __init__(self) -> None:
        """Loads the bindings; the compiler itself is loaded by the first call.

        Raises:
            BackendError: If they are not installed.
        """
        self.bindings = _load("nvrtc")

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls a function; as :meth:`CudaDriver.call`."""
        return _call(self.bindings, name, arguments, lambda status: getattr(status, "name", status))


def _load(name: str) -> Any:
    try:
        from cuda.bindings import driver, nvrtc, utils
    except ImportError as error:
        raise BackendError(
            "CUDA needs cuda-python 12.9.1 or newer: pip install 'cuda-bindings==12.*', or 13.* "
            f"for a driver of CUDA 13 ({error})"
        ) from None
    return {"driver": driver, "nvrtc": nvrtc, "utils": utils}[name]


def _call(
    bindings: Any, name: str, arguments: tuple[Any, ...], reason: Callable[[Any], object]
) -> Any:
    try:
        status, *values = getattr(bindings, name)(*arguments)
    # A library or a function of it is missing: exceptions that share no base class.
    except Exception as error:
        raise BackendError(f"{name} failed: {' '.join(str(error).split())[:300]}") from None
    if int(status) != 0:
        raise BackendError(f"{name} failed: {reason(status)}")
    return values[0] if len(values) == 1 else tuple(values) or None
