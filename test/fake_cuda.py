# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for ``cuda.bindings``: host memory as device memory, kernels run by the CPU.

It is strict where a GPU is: a call on a thread without a current context fails, new memory holds
rubbish, freed addresses are refused, and nothing that is put on a stream happens before somebody
waits for the stream, so that a missing wait shows.

    fake = fake_cuda.install(monkeypatch)
    ...                                   # whatever uses CudaContext
    fake.num_bytes_up, fake.num_bytes_down, fake.num_allocations, fake.num_launches
    fake.failures["cuMemAlloc"] = 2       # from now on it returns CUDA_ERROR_OUT_OF_MEMORY
    fake.memory(pointer, num_bytes)       # uint8 view of device memory
    fake.enqueue(function)                # work of another library on the same stream
"""

# The driver's functions keep the driver's names.
# ruff: noqa: N802, N815

from __future__ import annotations

import ctypes
import enum
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest

SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, INVALID_CONTEXT = 0, 1, 2, 201


class Status(int):
    """As the bindings' statuses: an integer with a name."""

    @property
    def name(self) -> str:
        names = {SUCCESS: "CUDA_SUCCESS", INVALID_VALUE: "CUDA_ERROR_INVALID_VALUE"}
        names |= {OUT_OF_MEMORY: "CUDA_ERROR_OUT_OF_MEMORY", 700: "CUDA_ERROR_ILLEGAL_ADDRESS"}
        return (names | {INVALID_CONTEXT: "CUDA_ERROR_INVALID_CONTEXT"}).get(self, f"CUDA_{self}")


class FakeCuda:
    """The state of one machine with one GPU; its ``cu*`` methods are the driver's functions."""

    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=75,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=76,
    )
    CUstream_flags = enum.IntEnum("CUstream_flags", {"CU_STREAM_NON_BLOCKING": 1})

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self.num_bytes_up = 0
        self.num_bytes_down = 0
        self.num_allocations = 0
        self.num_launches = 0
        self.num_retained = 0  # primary contexts held
        self.streams: set[int] = set()
        self.supported_architectures = [75, 80, 87, 90]
        self.compute_capability = (8, 7)
        self.order_seed: int | None = None  # of the threads of a kernel; None: ascending
        self.num_workers = 1  # threads of the CPU that run those of a kernel
        self.compile_options: list[bytes] = []
        self.modules: list[cuda_on_cpu.Kernels] = []  # loaded
        self._memory: dict[int, tuple[Any, int]] = {}
        self._host: dict[int, Any] = {}
        self._current = threading.local()
        self._pending: list[Callable[[], object]] = []

    @property
    def num_allocated(self) -> int:
        """Device buffers and pinned arrays not freed yet."""
        return len(self._memory) + len(self._host)

    def memory(self, pointer: int, num_bytes: int) -> np.ndarray:
        """Device memory as bytes; it must lie within one allocation."""
        for start, (_, size) in self._memory.items():
            if start <= pointer and pointer + num_bytes <= start + size:
                return np.ctypeslib.as_array((ctypes.c_uint8 * num_bytes).from_address(pointer))
        raise AssertionError(f"{num_bytes} bytes at {pointer:#x} are not allocated")

    def enqueue(self, function: Callable[[], object]) -> None:
        """Puts work on the stream."""
        self._pending.append(function)

    def flush(self) -> None:
        """Does what is on the stream."""
        pending, self._pending = self._pending, []
        for function in pending:
            function()

    # Without a context.

    def cuInit(self, flags: int) -> tuple:
        return (self._status("cuInit"),)

    def cuDeviceGetCount(self) -> tuple:
        return self._status("cuDeviceGetCount"), 1

    def cuDeviceGet(self, index: int) -> tuple:
        return self._status("cuDeviceGet"), index

    def cuDeviceGetName(self, length: int, device: int) -> tuple:
        return self._status("cuDeviceGetName"), b"Fake GPU".ljust(length, b"\0")

    def cuDeviceGetAttribute(self, attribute: int, device: int) -> tuple:
        return self._status("cuDeviceGetAttribute"), self.compute_capability[attribute - 75]

    def cuGetErrorString(self, status: int) -> tuple:
        return Status(SUCCESS), {OUT_OF_MEMORY: b"out of memory"}.get(status, b"in words")

    def cuDevicePrimaryCtxRetain(self, device: int) -> tuple:
        status = self._status("cuDevicePrimaryCtxRetain")
        self.num_retained += status == SUCCESS
        return status, "primary"

    def cuDevicePrimaryCtxRelease(self, device: int) -> tuple:
        self.num_retained -= 1
        return (self._status("cuDevicePrimaryCtxRelease"),)

    # The current context of a thread.

    def _stack(self) -> list:
        if not hasattr(self._current, "stack"):
            self._current.stack = []
        return self._current.stack

    def cuCtxSetCurrent(self, context: str) -> tuple:
        self._stack()[-1:] = [context]
        return (self._status("cuCtxSetCurrent"),)

    def cuCtxPushCurrent(self, context: str) -> tuple:
        self._stack().append(context)
        return (self._status("cuCtxPushCurrent"),)

    def cuCtxPopCurrent(self) -> tuple:
        return self._status("cuCtxPopCurrent"), self._stack().pop()

    def _status(self, name: str, needs_context: bool = False) -> Status:
        if name in self.failures:
            return Status(self.failures[name])
        return Status(INVALID_CONTEXT if needs_context and not self._stack() else SUCCESS)

    # Memory.

    def cuMemAlloc(self, num_bytes: int) -> tuple:
        if status := self._status("cuMemAlloc", needs_context=True):
            return status, None
        self.num_allocations += 1
        block = (ctypes.c_uint8 * (num_bytes + 256))(*b"\xab" * 16)
        ctypes.memset(block, 0xAB, len(block))
        pointer = -(-ctypes.addressof(block) // 256) * 256
        self._memory[pointer] = (block, num_bytes)
        return status, pointer

    def cuMemFree(self, pointer: int) -> tuple:
        status = self._status("cuMemFree", needs_context=True)
        if pointer not in self._memory:
            return (Status(INVALID_VALUE),)
        self.flush()
        del self._memory[pointer]
        return (status,)

    def cuMemHostAlloc(self, num_bytes: int, flags: int) -> tuple:
        if status := self._status("cuMemHostAlloc", needs_context=True):
            return status, None
        self.num_allocations += 1
        block = (ctypes.c_uint8 * num_bytes)()
        ctypes.memset(block, 0xAB, num_bytes)
        self._host[ctypes.addressof(block)] = block
        return status, ctypes.addressof(block)

    def cuMemFreeHost(self, pointer: int) -> tuple:
        status = self._status("cuMemFreeHost", needs_context=True)
        del self._host[pointer]
        return (status,)

    def cuMemcpyHtoDAsync(self, pointer: int, source: int, num_bytes: int, stream: int) -> tuple:
        status = self._status("cuMemcpyHtoDAsync", needs_context=True)
        self.num_bytes_up += num_bytes
        self.memory(pointer, num_bytes)
        self.enqueue(lambda: ctypes.memmove(pointer, source, num_bytes))
        return (status,)

    def cuMemcpyDtoHAsync(self, target: int, pointer: int, num_bytes: int, stream: int) -> tuple:
        status = self._status("cuMemcpyDtoHAsync", needs_context=True)
        self.num_bytes_down += num_bytes
        self.memory(pointer, num_bytes)
        self.enqueue(lambda: ctypes.memmove(target, pointer, num_bytes))
        return (status,)

    def cuMemsetD8Async(self, pointer: int, value: int, num_bytes: int, stream: int) -> tuple:
        status = self._status("cuMemsetD8Async", needs_context=True)
        self.memory(pointer, num_bytes)
        self.enqueue(lambda: ctypes.memset(pointer, value, num_bytes))
        return (status,)

    # Streams and kernels.

    def cuStreamCreate(self, flags: int) -> tuple:
        if status := self._status("cuStreamCreate", needs_context=True):
            return status, None
        self.streams.add(len(self.streams) + 1)
        return status, len(self.streams)

    def cuStreamDestroy(self, stream: int) -> tuple:
        status = self._status("cuStreamDestroy", needs_context=True)
        self.flush()
        self.streams.remove(stream)
        return (status,)

    def cuStreamSynchronize(self, stream: int) -> tuple:
        status = self._status("cuStreamSynchronize", needs_context=True)
        self.flush()
        return (status,)

    def cuModuleLoadData(self, image: bytes) -> tuple:
        status = self._status("cuModuleLoadData", needs_context=True)
        self.modules.append(cuda_on_cpu.compile_kernels(image.decode()))
        return status, self.modules[-1]

    def cuModuleGetFunction(self, module: cuda_on_cpu.Kernels, name: bytes) -> tuple:
        return self._status("cuModuleGetFunction", needs_context=True), (module, name.decode())

    def cuModuleUnload(self, module: cuda_on_cpu.Kernels) -> tuple:
        self.modules.remove(module)
        return (self._status("cuModuleUnload", needs_context=True),)

    def cuLaunchKernel(self, function: tuple, *arguments: Any) -> tuple:
        status = self._status("cuLaunchKernel", needs_context=True)
        grid, _, _, block, _, _, _, _, parameters, _ = arguments
        module, name = function
        self.num_launches += 1
        # The driver copies a kernel's parameters when it is launched, not when it runs.
        packed = module.pack(name, parameters)
        self.enqueue(lambda: module.run(packed, grid, block, self.order_seed, self.num_workers))
        return (status,)


class FakeNvrtc:
    """The run-time compiler: what it makes of a source is the source."""

    def __init__(self, fake: FakeCuda) -> None:
        self._fake = fake
        self.error: str | None = None

    def nvrtcGetSupportedArchs(self) -> tuple:
        return Status(SUCCESS), self._fake.supported_architectures

    def nvrtcCreateProgram(self, source: bytes, name: bytes, *_: Any) -> tuple:
        return Status(SUCCESS), source

    def nvrtcCompileProgram(self, program: bytes, num_options: int, options: list) -> tuple:
        self._fake.compile_options = options
        return (Status(6 if self._fake.failures.get("nvrtcCompileProgram") else SUCCESS),)

    def nvrtcGetProgramLogSize(self, program: bytes) -> tuple:
        return Status(SUCCESS), 40

    def nvrtcGetProgramLog(self, program: bytes, log: bytearray) -> tuple:
        return (Status(SUCCESS),)

    def nvrtcGetCUBINSize(self, program: bytes) -> tuple:
        return Status(SUCCESS), len(program)

    def nvrtcGetCUBIN(self, program: bytes, image: Any) -> tuple:
        ctypes.memmove((ctypes.c_char * len(program)).from_buffer(image), program, len(program))
        return (Status(SUCCESS),)

    nvrtcGetPTXSize = nvrtcGetCUBINSize
    nvrtcGetPTX = nvrtcGetCUBIN

    def nvrtcDestroyProgram(self, program: bytes) -> tuple:
        return (Status(SUCCESS),)


def install(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """Puts a fresh fake where ``from cuda.bindings import ...`` finds it."""
    fake = FakeCuda()
    utils = SimpleNamespace(get_cuda_native_handle=int)
    bindings = SimpleNamespace(driver=fake, nvrtc=FakeNvrtc(fake), utils=utils)
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    return fake
