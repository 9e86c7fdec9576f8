# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compiles CUDA C to kernels, and launches them."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path
from typing import Any

from eloss_perception.errors import BackendError
from eloss_perception.runtime.gpu.cuda import CudaContext
from eloss_perception.runtime.gpu.driver import Nvrtc

_BLOCK_SIZE = 256
# A fused multiply-add rounds once where the CPU rounds twice, which would change last bits.
_OPTIONS = [b"--fmad=false", b"--std=c++14"]


def compile_cuda(source: bytes, name: str, compute_capability: tuple[int, int]) -> bytes:
    """Compiles CUDA C for one kind of GPU, a second or less.

    Args:
        name: What error messages call the source.

    Returns:
        Machine code if the compiler knows the GPU: it runs on every driver of the same major
        version, whereas a driver refuses PTX of a newer compiler. PTX, which the driver translates,
        for a GPU that is newer than the compiler.

    Raises:
        BackendError: If NVRTC is not installed or refuses the source.
    """
    nvrtc = Nvrtc()
    supported = nvrtc.call("nvrtcGetSupportedArchs")
    wanted = 10 * compute_capability[0] + compute_capability[1]
    known = [architecture for architecture in supported if architecture <= wanted]
    if not known:
        raise BackendError(f"this NVRTC does not compile for compute capability {wanted / 10:g}")
    kind = "CUBIN" if wanted in known else "PTX"
    architecture = f"sm_{wanted}" if kind == "CUBIN" else f"compute_{max(known)}"
    options = [*_OPTIONS, f"--gpu-architecture={architecture}".encode()]
    program = nvrtc.call("nvrtcCreateProgram", source, name.encode(), 0, [], [])
    try:
        try:
            nvrtc.call("nvrtcCompileProgram", program, len(options), options)
        except BackendError as error:
            raise BackendError(f"{name}: {error}: {_compile_log(nvrtc, program)}") from None
        image = bytearray(int(nvrtc.call(f"nvrtcGet{kind}Size", program)))
        nvrtc.call(f"nvrtcGet{kind}", program, image)
    finally:
        with contextlib.suppress(BackendError):
            nvrtc.call("nvrtcDestroyProgram", program)
    return bytes(image)


def _compile_log(nvrtc: Nvrtc, program: Any) -> str:
    with contextlib.suppress(BackendError):
        log = bytearray(int(nvrtc.call("nvrtcGetProgramLogSize", program)))
        nvrtc.call("nvrtcGetProgramLog", program, log)
        return " ".join(log.rstrip(b"\0").decode(errors="replace").split())[:300]
    return "no log"


class KernelModule:
    """The kernels of one source file, all taking the same single parameter.

    Attributes:
        parameter: Read at each launch; may be written between launches.
    """

    def __init__(self, context: CudaContext, path: Path, parameter: ctypes.Structure) -> None:
        """Compiles and loads a CUDA C file.

        Raises:
            BackendError: If it cannot be read or compiled.
        """
        self.parameter = parameter
        self._context = context
        try:
            source = path.read_bytes()
        except OSError as error:
            raise BackendError(f"{path}: {error.strerror}: install the package again") from None
        image = compile_cuda(source, path.name, context.compute_capability)
        self._module = context.load_module(image)
        self._functions: dict[str, Any] = {}
        # The driver takes an array of the parameters' addresses.
        self._addresses = (ctypes.c_void_p * 1)(ctypes.addressof(parameter))

    def launch(self, name: str, num_items: int, max_blocks: int = 1 << 16) -> None:
        """Starts a kernel on the context's stream, on a thread where the context is current.

        Args:
            num_items: Number of items shared among its threads; 0 starts nothing.
            max_blocks: Limit of blocks; above it, each thread takes several items.

        Raises:
            BackendError: If the driver refuses it.
        """
        if num_items < 1:
            return
        driver = self._context.driver
        function = self._functions.get(name)
        if function is None:
            function = driver.call("cuModuleGetFunction", self._module, name.encode())
            self._functions[name] = function
        num_blocks = min(-(-num_items // _BLOCK_SIZE), max_blocks)
        driver.call(
            "cuLaunchKernel",
            function,
            *(num_blocks, 1, 1),
            *(_BLOCK_SIZE, 1, 1),
            0,  # shared memory
            self._context.stream,
            ctypes.addressof(self._addresses),
            0,
        )
