# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`auto`: the first backend that works here, and a word on those that were passed over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eloss_perception.errors import BackendError
from eloss_perception.runtime.backends.base import (
    Backend,
    CountedPillars,
    NetworkOutputs,
)
from eloss_perception.runtime.backends.cuda_device import require_cuda_device


class Auto:
    """The backend that was found; see :class:`eloss_perception.runtime.backends.base.Backend`.

    Attributes:
        name: Which one it is.
        passed_over: Those tried before, each with the reason that it did not start.
    """

    def __init__(self, name: str, backend: Backend, passed_over: tuple[str, ...]) -> None:
        self.name = name
        self.passed_over = passed_over
        self._backend = backend

    @property
    def description(self) -> str:
        """Runtime, version and device actually used, and why no other."""
        if not self.passed_over:
            return self._backend.description
        return f"{self._backend.description}; auto passed over {'; '.join(self.passed_over)}"

    def pillarize(self, points: npt.NDArray[np.float32]) -> CountedPillars:
        """Sorts points into pillars where the network runs."""
        return self._backend.pillarize(points)

    def run(self, pillars: Any) -> NetworkOutputs:
        """Runs one frame."""
        return self._backend.run(pillars)

    def close(self) -> None:
        """Frees the network."""
        self._backend.close()


def load_first(
    names: Sequence[tuple[str, bool]], load: Callable[[str], Backend], device_index: int
) -> Auto:
    """Starts the first backend that works.

    Args:
        names: The backends to try in this order, and whether each needs a GPU.
        load: Starts the one of a name.
        device_index: Which GPU.

    Raises:
        BackendError: If none does, with the reason of each.
    """
    passed_over: list[str] = []
    for name, needs_gpu in names:
        try:
            if needs_gpu:  # Seen at once, before anything large is imported.
                require_cuda_device(device_index)
            backend = load(name)
        except BackendError as error:
            passed_over.append(f"{name} ({error})")
        else:
            return Auto(name, backend, tuple(passed_over))
    raise BackendError(f"no backend works here: {'; '.join(passed_over)}")
