# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One GPU: its memory, its stream, its copies.

Everything uses the device's *primary* context, as TensorRT, ONNX Runtime and torch do: addresses
and streams can be passed to them. Each thread has a current context of its own, and a node may be
set up on one thread and run on another, so every method makes the context current on its thread.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from eloss_perception.errors import BackendError
from eloss_perception.runtime.gpu.driver import CudaDriver


class _PrimaryContext:
    """A device's primary context, released when nothing refers to it any more.

    The driver frees all memory of a context with its last release. Pinned arrays may outlive the
    :class:`CudaContext` they came from, so each of them keeps a reference to this.
    """

    def __init__(self, driver: CudaDriver, device: Any) -> None:
        self.driver = driver
        self._device = device
        self._handle: Any = None
        self._handle = driver.call("cuDevicePrimaryCtxRetain", device)

    def activate(self) -> None:
        self.driver.call("cuCtxSetCurrent", self._handle)

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[None]:
        """Makes it current for a moment: garbage is collected on any thread."""
        self.driver.call("cuCtxPushCurrent", self._handle)
        try:
            yield
        finally:
            self.driver.call("cuCtxPopCurrent")

    def __del__(self) -> None:
        if self._handle is None:  # the constructor failed
            return
        with contextlib.suppress(Exception):  # a destructor must not raise
            self.driver.call("cuDevicePrimaryCtxRelease", self._device)


class DeviceBuffer:
    """A block of device memory; its content is undefined until written.

    Attributes:
        pointer: Device address; 0 once freed.
        num_bytes: Size.
    """

    def __init__(self, primary: _PrimaryContext, num_bytes: int) -> None:
        self.pointer = 0
        self.num_bytes = num_bytes
        self._primary: _PrimaryContext | None = primary
        with primary.borrowed():
            # The driver refuses 0 bytes.
            self.pointer = int(primary.driver.call("cuMemAlloc", max(num_bytes, 1)))

    def free(self) -> None:
        """Frees the memory; a second call does nothing."""
        pointer, self.pointer = self.pointer, 0
        primary, self._primary = self._primary, None
        if pointer and primary:
            with primary.borrowed():
                primary.driver.call("cuMemFree", pointer)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.free()


class _PinnedMemory:
    """Page-locked host memory of a numpy array, freed with the last view of it."""

    def __init__(self, primary: _PrimaryContext, shape: tuple[int, ...], dtype: Any) -> None:
        self._pointer = 0
        self._primary = primary
        num_bytes = max(int(np.prod(shape)) * dtype.itemsize, 1)
        with primary.borrowed():
            self._pointer = int(primary.driver.call("cuMemHostAlloc", num_bytes, 0))
        self.__array_interface__ = {
            "version": 3,
            "data": (self._pointer, False),
            "shape": shape,
            "typestr": dtype.str,
        }

    def __del__(self) -> None:
        with contextlib.suppress(Exception), self._primary.borrowed():
            if self._pointer:
                self._primary.driver.call("cuMemFreeHost", self._pointer)


class CudaContext:
    """One GPU's primary context and one stream on it.

    To be used by one thread at a time, not always the same.

    Attributes:
        driver: The CUDA driver, for calls that are not wrapped here.
        device_name: For example ``Orin``.
        compute_capability: Major and minor, for example (8, 7).
        stream: Address of the stream, as TensorRT and ONNX Runtime take it.
    """

    def __init__(self, device_index: int = 0) -> None:
        """Opens a GPU.

        Raises:
            BackendError: If cuda-python or the driver is missing, or there is no such GPU.
        """
        self.driver = CudaDriver()
        num_devices = int(self.driver.call("cuDeviceGetCount"))
        if not 0 <= device_index < num_devices:
            raise BackendError(f"there is no GPU {device_index}: CUDA sees {num_devices}")
        device = self.driver.call("cuDeviceGet", device_index)
        name = bytes(self.driver.call("cuDeviceGetName", 256, device))
        self.device_name = name.split(b"\0")[0].decode()
        attributes = self.driver.bindings.CUdevice_attribute
        major = attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
        minor = attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
        self.compute_capability = (
            int(self.driver.call("cuDeviceGetAttribute", major, device)),
            int(self.driver.call("cuDeviceGetAttribute", minor, device)),
        )
        self._modules: list[Any] = []
        self._buffers: weakref.WeakSet[DeviceBuffer] = weakref.WeakSet()
        self._primary_context: _PrimaryContext | None = _PrimaryContext(self.driver, device)
        self._primary_context.activate()
        # Not the legacy default stream, which waits for all others in the process.
        non_blocking = int(self.driver.bindings.CUstream_flags.CU_STREAM_NON_BLOCKING)
        self._stream = self.driver.call("cuStreamCreate", non_blocking)
        self.stream = self.driver.address(self._stream)

    def activate(self) -> None:
        """Makes the context current on the calling thread, for calls made by other libraries.

        Raises:
            BackendError: If the context is closed or the device has failed.
        """
        self._primary.activate()

    def allocate(self, num_bytes: int) -> DeviceBuffer:
        """Allocates device memory; freed by :meth:`DeviceBuffer.free`, or with buffer or context.

        Raises:
            BackendError: If there is not enough.
        """
        buffer = DeviceBuffer(self._primary, num_bytes)
        self._buffers.add(buffer)
        return buffer

    def pinned(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Allocates a page-locked host array, whose copies run asynchronously.

        Returns:
            An array of this shape and dtype, content undefined; still valid after :meth:`close`.

        Raises:
            BackendError: If there is not enough memory.
        """
        return np.asarray(_PinnedMemory(self._primary, shape, np.dtype(dtype)))

    def load_module(self, image: bytes) -> Any:
        """Loads compiled kernels, until :meth:`close`.

        Raises:
            BackendError: If the driver refuses them.
        """
        self.activate()
        module = self.driver.call("cuModuleLoadData", image)
        self._modules.append(module)
        return module

    def upload(self, array: npt.NDArray[Any], buffer: DeviceBuffer) -> None:
        """Starts copying a C-contiguous host array to the start of a buffer.

        With a pinned array this returns at once; do not write to it before the copy is done.

        Raises:
            BackendError: If the array does not fit, or the device has failed.
        """
        self._check_copy(array, buffer)
        self.activate()
        if array.nbytes:
            self.driver.call(
                "cuMemcpyHtoDAsync", buffer.pointer, array.ctypes.data, array.nbytes, self._stream
            )

    def download(self, buffer: DeviceBuffer, array: npt.NDArray[Any]) -> None:
        """Starts filling a C-contiguous host array from the start of a buffer.

        The array is filled once :meth:`synchronize` has returned.

        Raises:
            BackendError: If the buffer holds less than the array, or the device has failed.
        """
        self._check_copy(array, buffer)
        self.activate()
        if array.nbytes:
            self.driver.call(
                "cuMemcpyDtoHAsync", array.ctypes.data, buffer.pointer, array.nbytes, self._stream
            )

    def clear(self, buffer: DeviceBuffer) -> None:
        """Starts filling a buffer with zeros.

        Raises:
            BackendError: If the device has failed.
        """
        self.activate()
        self.driver.call("cuMemsetD8Async", buffer.pointer, 0, buffer.num_bytes, self._stream)

    def synchronize(self) -> None:
        """Waits until everything started on the stream is done.

        Raises:
            BackendError: If any of it failed: a kernel's error shows here, not at its launch.
        """
        self.activate()
        self.driver.call("cuStreamSynchronize", self._stream)

    def close(self) -> None:
        """Waits for the stream, then frees it and all device memory; a second call does nothing.

        Never raises, because the device may have failed. A context in which a kernel failed stays
        unusable as long as anything in the process holds it.
        """
        primary, self._primary_context = self._primary_context, None
        if primary is None:
            return
        with contextlib.suppress(BackendError), primary.borrowed():
            # Each on its own: after a failure the others must still be tried.
            with contextlib.suppress(BackendError):
                self.driver.call("cuStreamSynchronize", self._stream)
            for buffer in list(self._buffers):
                with contextlib.suppress(BackendError):
                    buffer.free()
            for module in self._modules:
                with contextlib.suppress(BackendError):
                    self.driver.call("cuModuleUnload", module)
            with contextlib.suppress(BackendError):
                self.driver.call("cuStreamDestroy", self._stream)

    def __enter__(self) -> CudaContext:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    @property
    def _primary(self) -> _PrimaryContext:
        if self._primary_context is None:
            raise BackendError("the CUDA context is closed")
        return self._primary_context

    @staticmethod
    def _check_copy(array: npt.NDArray[Any], buffer: DeviceBuffer) -> None:
        if not array.flags.c_contiguous:
            raise BackendError("only a C-contiguous array can be copied to or from the GPU")
        if array.nbytes > buffer.num_bytes or not buffer.pointer:
            raise BackendError(
                f"{array.nbytes} bytes do not fit a device buffer of "
                f"{buffer.num_bytes if buffer.pointer else 0}"
            )
