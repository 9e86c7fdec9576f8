# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calls into NVIDIA's libraries, every status checked.

``cuda.bindings`` of cuda-python, not CuPy: a tenth of the download or less, one name for CUDA 12
and 13, and CuPy's arrays are not wanted: the kernels are our own, TensorRT takes addresses. From
12.9.1 on a call lets other Python threads run, so that waiting for the GPU holds up nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eloss_perception.errors import BackendError


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
            What it returns besides its status: None, a value or a tuple of values.

        Raises:
            BackendError: If it fails; the text names the function.
        """
        return _call(self.bindings, name, arguments, self._reason)

    def address(self, handle: Any) -> int:
        """A handle of the driver, such as a stream, as other libraries take it."""
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
