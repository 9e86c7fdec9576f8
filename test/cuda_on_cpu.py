# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compiles CUDA C kernels for the CPU and runs them there, in any order of their threads.

What this shows: the arithmetic, and that neither the order nor the interleaving of threads matters.
What it cannot: NVIDIA's compiler, and how fast it is.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_SHIM = Path(__file__).with_name("cuda_on_cpu.hpp")
_TABLE = """
extern "C" Launch* make_launch(const char* name, void** parameters) {
%s    return nullptr;
}
"""
# No contraction of a * b + c, as with --fmad=false on the device.
_FLAGS = ["-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-pthread", "-Wall"]

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="g++ is not installed: it stands in for CUDA's compiler"
)


class Kernels:
    """The kernels of one source, callable on the CPU."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.make_launch.restype = ctypes.c_void_p
        library.make_launch.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        library.run_launch.restype = None
        library.run_launch.argtypes = [
            *(ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_longlong, ctypes.c_int)
        ]

    def pack(self, name: str, parameters: int) -> int:
        """Copies the parameters, given as the address of a ``void*[]``, for one :meth:`run`."""
        launch = self._library.make_launch(name.encode(), parameters)
        assert launch, f"there is no kernel {name}"
        return int(launch)

    def run(
        self, launch: int, grid: int, block: int, order_seed: int | None, num_workers: int
    ) -> None:
        """Runs each thread of the grid; in order, or shuffled, on one thread of the CPU or more."""
        seed = -1 if order_seed is None else order_seed
        self._library.run_launch(launch, grid, block, seed, num_workers)


@functools.lru_cache
def compile_kernels(source: str) -> Kernels:
    """Compiles a CUDA C source with g++."""
    return Kernels(ctypes.CDLL(str(compile_library(source))))


@functools.lru_cache
def compile_library(source: str) -> Path:
    """A library of the kernels of a CUDA C source, and of what runs them; gone with the process."""
    names = re.findall(r"__global__ void (\w+)\(", source)
    assert names, "the source has no kernels"
    table = "".join(
        f'    if (!std::strcmp(name, "{name}")) return bind_launch({name}, parameters);\n'
        for name in names
    )
    target = Path(_folder().name) / f"{hashlib.sha256(source.encode()).hexdigest()}.so"
    compile_cpp(f'#include "{_SHIM}"\n{source}\n{_TABLE % table}', target)
    return target


@functools.lru_cache
def _folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory()


def compile_cpp(source: str, target: Path) -> None:
    """Writes a library of a C++ source."""
    result = subprocess.run(
        ["g++", *_FLAGS, "-x", "c++", "-", "-o", str(target), "-ldl"],
        input=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr
