# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The installed TensorRT Python module, and its log."""

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

# JetPack 6 has 10.3. Older versions lack parts of the API that is used here.
OLDEST_VERSION = (10, 3)

# TensorRT-RTX has the API of TensorRT and its ONNX parser, and builds without a GPU. The wheels on
# PyPI are split: the second is the name of the part that holds the bindings.
_RTX_MODULES = ("tensorrt_rtx", "tensorrt_rtx_bindings")

# Enough to tell the cause from its consequences.
_KEPT_ERRORS = 8


def load_tensorrt() -> Any:
    """Returns the `tensorrt` module, of JetPack or of the user's installation.

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
    """Returns a module that can build an engine to check a network: TensorRT-RTX or TensorRT.

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
    """Returns name and version, such as ``TensorRT 10.3.0``."""
    name = "TensorRT-RTX" if "rtx" in trt.__name__ else "TensorRT"
    return f"{name} {trt.__version__}"


@lru_cache
def shared_log(trt: Any) -> TensorRtLog:
    """Returns the only log of a module.

    TensorRT ignores a second logger while anything made with the first one is alive, and the first
    one has to outlive all of that.
    """
    return TensorRtLog(trt)


class TensorRtLog:
    """TensorRT's log: errors are kept, and everything goes to Python's logging.

    Attributes:
        logger: The object that TensorRT's constructors take.
    """

    def __init__(self, trt: Any) -> None:
        self.errors: deque[str] = deque(maxlen=_KEPT_ERRORS)
        self.logger = _logger_type(trt)(self)

    def add(self, is_error: bool, message: str) -> None:
        """Adds one message; called from any thread."""
        text = in_one_line(message)
        if is_error:
            self.errors.append(text)
        _LOG.debug("TensorRT: %s", text)

    def reason(self, otherwise: str) -> str:
        """Returns the errors since the last call in one line, the oldest first."""
        errors = list(dict.fromkeys(self.errors))
        self.errors.clear()
        return in_one_line("; ".join(errors)) if errors else otherwise


def quietly(log: TensorRtLog, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls TensorRT, which reports failures by None or False, and sometimes by raising.

    Returns:
        The call's result; ``None`` if it raised, with the reason in the log.
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
            except Exception:  # must not pass through C++
                _LOG.exception("cannot log what TensorRT says")

    return Logger


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split(".")[:2]:
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
