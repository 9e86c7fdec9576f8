# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ranges of a network's activations over scans, and the scale that rounds them with least error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnxruntime

from eloss_perception.detection.pillars import Pillars
from eloss_perception.export.quantization.graph import Graph

_NUM_BINS = 2048
# Shares of the largest value that are tried as the end of the range.
_SHARES = np.linspace(0.2, 1.0, 81)
# Of large maps every fifth value is counted: millions settle a histogram as well as all.
_MANY, _STRIDE = 100_000, 5


class Histogram:
    """Magnitudes of a tensor's values; what is exactly zero is rounded without error anyway."""

    def __init__(self) -> None:
        self.counts = np.zeros(_NUM_BINS)
        self.end = 0.0
        self.minimum = 0.0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Counts values; the range grows in powers of two, so that bins merge exactly."""
        flat = values.ravel()
        self.minimum = min(self.minimum, float(flat.min()))
        largest = max(float(flat.max()), -float(flat.min()))
        if largest == 0.0:
            return
        if self.end == 0.0:
            self.end = largest
        while largest > self.end:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros(_NUM_BINS // 2)])
            self.end *= 2.0
        counted = flat[::_STRIDE] if len(flat) > _MANY else flat
        magnitudes = np.abs(counted[counted != 0.0])
        self.counts += np.histogram(magnitudes, _NUM_BINS, (0.0, self.end))[0]

    def scale(self, num_steps: int) -> float:
        """Step of a range of ``num_steps`` steps that has the least squared error.

        What lies inside is rounded, an error of a twelfth of the squared step; what lies outside
        is cut off. A single far value is worth cutting off when all others get finer steps for it.
        """
        if self.end == 0.0:
            return 1.0
        edges = np.linspace(0.0, self.end, _NUM_BINS + 1)
        centres = 0.5 * (edges[:-1] + edges[1:])
        largest = edges[np.flatnonzero(self.counts)[-1] + 1]
        ends = largest * _SHARES
        errors = []
        for end in ends:
            inside = centres <= end
            cut = ((centres - end) ** 2 * self.counts)[~inside].sum()
            errors.append(cut + (end / num_steps) ** 2 / 12.0 * self.counts[inside].sum())
        return float(ends[int(np.argmin(errors))] / num_steps)


def collect_histograms(
    graph: Graph, tensors: Mapping[str, str], scans: Iterable[Pillars], num_threads: int
) -> dict[str, Histogram]:
    """Runs a network on scans and counts the values of some of its tensors.

    Args:
        graph: The float network.
        tensors: Which, and the group that each is counted in.
        scans: What it is run on.
        num_threads: CPU threads.

    Returns:
        The histogram of each group.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        graph.model(tensors).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    histograms = {group: Histogram() for group in tensors.values()}
    for pillars in scans:
        inputs = {
            "points": pillars.points,
            "features": pillars.features,
            "cell_to_pillar": pillars.cell_to_pillar[None],
        }
        for tensor, values in zip(tensors, session.run(list(tensors), inputs), strict=True):
            histograms[tensors[tensor]].add(values)
    return histograms
