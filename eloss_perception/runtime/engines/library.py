# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The TensorRT Python module, whichever of them is installed, and what it has to say."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

from eloss_perception.errors import BackendError
from eloss_perception.runtime.backends.base import in_one_line

_LOG = logging.getLogger(__name__)

# JetPack 6 brings 10.3. Older ones lack parts of the API that is used here.
OLDEST_VERSION = (10, 3)

# TensorRT-RTX has the API of TensorRT and its ONNX parser, and builds without a GPU. The wheels on
# PyPI are split: the second is the name of the part that holds the bindings.
_RTX_MODULES = ("tensorrt_rtx", "tensorrt_rtx_bindings")

# Enough to tell the cause from what follows from it.
_KEPT_ERRORS = 8


def load_tensorrt() -> Any:
    """The `tensorrt` module, of JetPack or of the user's installation.

    Raises:
        BackendError: If it is not installed, does not load or is too old.
    """
    try:
        trt = import_module("tensorrt")
    except ImportError as error:
        raise BackendError(f"TensorRT's Python module is not installed: {error}") from None
    except Exception as error:  # a library that is missing, or a driver that does not fit
        raise BackendError(f"TensorRT does not load: {in_one_line(error)}") from None
    version = str(getattr(trt, "__version__", ""))
    if _numbers(version) < OLDEST_VERSION:
        oldest = ".".join(str(number) for number in OLDEST_VERSION)
        raise BackendError(
            f"TensorRT {version or 'of unknown version'} is too old: {oldest} needed"
        )
    return trt


def load_checker() -> Any:
    """A module that builds engines for a check: TensorRT-RTX, which needs no GPU, or TensorRT.

    Raises:
        BackendError: If neither is installed.
    """
    for name in _RTX_MODULES:
        try:
            return import_module(name)
        except ImportError as error:
            _LOG.debug("no %s: %s", name, error)
    try:
        return load_tensorrt()
    except BackendError as error:
        raise BackendError(
            "the check needs TensorRT-RTX (`pip install tensorrt-rtx-cu13`, no GPU needed) "
            f"or TensorRT: {error}"
        ) from None


def product_name(trt: Any) -> str:
    """Name and version, for people: ``TensorRT 10.3.0``."""
    name = "TensorRT-RTX" if "rtx" in trt.__name__ else "TensorRT"
    return f"{name} {trt.__version__}"


@lru_cache
def shared_log(trt: Any) -> TensorRtLog:
    """The log of a module.

    There is one, and it lives on: TensorRT ignores a second logger while anything made with the
    first is alive, and the first has to outlive all that.
    """
    return TensorRtLog(trt)


class TensorRtLog:
    """What TensorRT logs: errors are kept, all of it goes to Python's logging.

    Attributes:
        logger: The object that TensorRT's constructors take.
    """

    def __init__(self, trt: Any) -> None:
        self.errors: deque[str] = deque(maxlen=_KEPT_ERRORS)
        self.logger = _logger_type(trt)(self)

    def add(self, is_error: bool, message: str) -> None:
        """Takes one message; called from any thread."""
        text = in_one_line(message)
        if is_error:
            self.errors.append(text)
        _LOG.debug("TensorRT: %s", text)

    def reason(self, otherwise: str) -> str:
        """The errors since the last call in one line, the first of them first."""
        errors = list(dict.fromkeys(self.errors))
        self.errors.clear()
        return in_one_line("; ".join(errors)) if errors else otherwise


def quietly(log: TensorRtLog, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls TensorRT, which says by None or False that it failed, and now and then by raising.

    Returns:
        What it returns; ``None`` where it raises, and then the log has the reason.
    """
    try:
        return function(*arguments)
    except Exception as error:  # pybind11 makes several types of what the library throws
        log.add(True, f"{type(error).__name__}: {error}")
        return None


def _logger_type(trt: Any) -> Any:
    class Logger(trt.ILogger):
        def __init__(self, log: TensorRtLog) -> None:
            trt.ILogger.__init__(self)
            self._log = log

        def log(self, severity: Any, message: str) -> None:
            try:
                # Severities count down: internal errors are 0, errors 1.
                self._log.add(int(severity) <= int(trt.ILogger.ERROR), message)
            except Exception:  # must not pass through C++; a line of log is not worth more
                _LOG.exception("cannot log what TensorRT says")

    return Logger


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split(".")[:2]:
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
