# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calls into NVIDIA's libraries, every status checked.

``cuda.bindings`` (of cuda-python), not CuPy: a tenth of the download, the same names for CUDA 12 and
13, and nothing wanted of CuPy's arrays; the kernels are our own and TensorRT takes addresses.
"""

from __future__ import annotations

from typing import Any

from eloss_perception.errors import BackendError


class CudaLibrary:
    """The driver and the run-time compiler (NVRTC), loaded when made.

    Attributes:
        driver: ``cuda.bindings.driver``, for its types and constants.
    """

    def __init__(self) -> None:
        """Loads the bindings and starts the driver.

        Raises:
            BackendError: If the bindings are not installed, or there is no driver or no GPU.
        """
        try:
            from cuda.bindings import driver, nvrtc
        except ImportError as error:
            raise BackendError(
                f"CUDA needs cuda-python (`pip install cuda-bindings` of the CUDA version): {error}"
            ) from None
        self.driver = driver
        self._nvrtc = nvrtc
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls a function of the driver.

        Returns:
            What it returns besides its status: nothing, a value or a tuple of values.

        Raises:
            BackendError: If it fails; the text names the function.
        """
        status, *values = _call(getattr(self.driver, name, None), name, arguments)
        if int(status) != 0:
            raise BackendError(f"{name} failed: {self._reason(status)}")
        return values[0] if len(values) == 1 else tuple(values) or None

    def call_nvrtc(self, name: str, *arguments: Any) -> Any:
        """Calls a function of the run-time compiler; as :meth:`call`."""
        status, *values = _call(getattr(self._nvrtc, name, None), name, arguments)
        if int(status) != 0:
            raise BackendError(f"{name} failed: {getattr(status, 'name', status)}")
        return values[0] if len(values) == 1 else tuple(values) or None

    def _reason(self, status: Any) -> str:
        """Name of a status, and the driver's words for it."""
        name = getattr(status, "name", str(status))
        try:
            found, text = self.driver.cuGetErrorString(status)
        except Exception:  # a status that the bindings do not know
            return name
        return f"{name} ({text.decode()})" if int(found) == 0 and text else name


def _call(function: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    if function is None:
        raise BackendError(f"this version of cuda-python has no {name}")
    try:
        return function(*arguments)
    except Exception as error:  # a library that is not there; its exceptions share no base class
        raise BackendError(f"{name} failed: {' '.join(str(error).split())[:300]}") from None
