# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation measures, and its defaults."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator

from eloss_perception.errors import DataError

# The least overlaps of the benchmark, and the looser ones that model zoos report beside them.
MIN_OVERLAPS = {
    "strict": {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5},
    "loose": {"Car": 0.5, "Pedestrian": 0.25, "Cyclist": 0.25},
}


def evaluated_classes(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return those of a network's classes that KITTI evaluates, names compared without case.

    Raises:
        DataError: If there is none.
    """
    known = {name.lower() for name in MIN_OVERLAPS["strict"]}
    common = tuple(name for name in class_names if name.lower() in known)
    if not common:
        raise DataError(
            f"KITTI evaluates no class {', '.join(class_names)}; it evaluates "
            f"{', '.join(MIN_OVERLAPS['strict'])}"
        )
    return common


def min_overlaps(class_name: str) -> dict[str, float]:
    """Return the `strict` and the `loose` least IoU of a class, its name compared without case."""
    return {
        kind: next(value for name, value in by_class.items() if name.lower() == class_name.lower())
        for kind, by_class in MIN_OVERLAPS.items()
    }


# AP integrates over the score: a threshold cuts the curve off, so that evaluation uses a low one.
EVALUATION_SCORE = 0.05


class EvaluationSettings(BaseModel):
    """What is computed besides the benchmark's own average precision."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    distance_edges: tuple[float, ...] = Field(
        (0.0, 20.0, 40.0, 70.0), description="edges of the distance bins [m]; none: no bins"
    )
    num_resamples: int = Field(
        300, ge=0, description="resamples of the frames for intervals; 0: no intervals"
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="share of resamples in an interval")
    block_length: int = Field(
        1, ge=1, description="consecutive frames drawn together; more than 1 for sequences"
    )
    seed: int = Field(0, ge=0, description="of the resampling")

    @field_validator("distance_edges")
    @classmethod
    def _check_edges(cls, edges: tuple[float, ...]) -> tuple[float, ...]:
        if len(edges) == 1 or list(edges) != sorted(set(edges)) or (edges and edges[0] < 0.0):
            raise ValueError("must be at least two ascending distances from 0, or none")
        return edges
