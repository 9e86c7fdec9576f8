# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a step costs on every machine: the arrays that numpy makes, the lines that Python runs.

Memory for arrays is counted by numpy's own hook for it (NEP 49).

What is taken and given back at once counts too, which a look at memory before and after, or at its
peak, would not see: a frame's copies are of that kind. Numbers, not times: they are the same on
every machine. Arrays made inside compiled code (numba) do not come from here.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, ClassVar

# Positions in numpy's table of C functions, fixed by its binary interface since 1.22.
_SET_HANDLER, _DEFAULT_HANDLER = 304, 306
_CAPSULE_NAME = b"mem_handler"

_MALLOC = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_CALLOC = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
_REALLOC = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_FREE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _Handler(ctypes.Structure):
    """PyDataMem_Handler of numpy/ndarraytypes.h."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", ctypes.c_void_p),
        ("malloc", _MALLOC),
        ("calloc", _CALLOC),
        ("realloc", _REALLOC),
        ("free", _FREE),
    )


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def num_lines(call: Callable[[], object]) -> int:
    """Runs something; returns how many lines of Python that took."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


class ArrayAllocations:
    """Context manager: arrays made by numpy in this thread inside it.

    Attributes:
        sizes: Bytes of every one, in their order.
    """

    # An array may live longer than the block it was made in, and its memory goes back through the
    # handler that it came from: handlers stay for good.
    _kept: ClassVar[list[object]] = []

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._numpys = _numpys_handler()
        # Memory goes back to numpy without a detour through Python, which may be gone by then.
        self._handler = _Handler(
            b"counting",
            1,
            self._numpys.context,
            _MALLOC(self._malloc),
            _CALLOC(self._calloc),
            _REALLOC(self._realloc),
            self._numpys.free,
        )
        self._capsule = _new_capsule(ctypes.addressof(self._handler), _CAPSULE_NAME, None)
        self._kept.append((self._handler, self._capsule))

    def large(self, num_bytes: int = 65536) -> list[int]:
        """Those of at least so many bytes."""
        return [size for size in self.sizes if size >= num_bytes]

    def __enter__(self) -> ArrayAllocations:
        self._previous = _set_handler(self._capsule)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _set_handler(self._previous)

    def _malloc(self, context: int | None, size: int) -> int | None:
        self.sizes.append(size)
        return self._numpys.malloc(context, size)

    def _calloc(self, context: int | None, count: int, size: int) -> int | None:
        self.sizes.append(count * size)
        return self._numpys.calloc(context, count, size)

    def _realloc(self, context: int | None, pointer: int | None, size: int) -> int | None:
        self.sizes.append(size)
        return self._numpys.realloc(context, pointer, size)


def _table() -> ctypes.Array:
    """Numpy's C functions."""
    try:
        from numpy._core._multiarray_umath import _ARRAY_API
    except ImportError:  # numpy 1
        from numpy.core._multiarray_umath import _ARRAY_API
    pointer = _capsule_pointer(_ARRAY_API, None)
    return ctypes.cast(pointer, ctypes.POINTER(ctypes.c_void_p * (_DEFAULT_HANDLER + 1))).contents


def _numpys_handler() -> _Handler:
    """Where numpy takes memory from when nobody counts."""
    capsule = ctypes.cast(_table()[_DEFAULT_HANDLER], ctypes.POINTER(ctypes.py_object)).contents
    pointer = _capsule_pointer(capsule.value, _CAPSULE_NAME)
    return ctypes.cast(pointer, ctypes.POINTER(_Handler)).contents


def _set_handler(capsule: object) -> object:
    """Makes numpy take memory through a handler; returns the one before."""
    function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(_table()[_SET_HANDLER])
    return function(capsule)
