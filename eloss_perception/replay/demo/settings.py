# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the demo shows. Nothing slow is imported here: `eloss --help` needs this module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eloss_perception.errors import ConfigError

if TYPE_CHECKING:
    from eloss_perception.simulation.schedule import CorruptionWindow

RATE_HZ = 10.0
DEFAULT_NUM_FRAMES = 150
QUICK_NUM_FRAMES = 40
DEFAULT_SEED = 1
DEFAULT_OUTPUT = Path("demo_output")


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What the demo shows.

    Attributes:
        output: Folder of the results, made if needed.
        kitti: Folder with a KITTI tracking sequence; None for a simulated drive.
        num_frames: Scans to play; None for 150 simulated ones, or the whole sequence.
        bundle: Model bundle; None for the one that is shipped.
        backend: What runs the network; None for the node's default.
        corruptions: What the sensor suffers; None for rain, fog and then lost beams in a simulated
            drive, and nothing in a real one.
        seed: Of the simulated drive.
    """

    output: Path = DEFAULT_OUTPUT
    kitti: Path | None = None
    num_frames: int | None = None
    bundle: Path | None = None
    backend: str | None = None
    corruptions: tuple[CorruptionWindow, ...] | None = None
    seed: int = DEFAULT_SEED

    def __post_init__(self) -> None:
        if self.num_frames is not None and self.num_frames < 1:
            raise ConfigError(f"num_frames is {self.num_frames}; at least 1 is needed")


def default_corruptions(num_frames: int) -> tuple[CorruptionWindow, ...]:
    """A clean start; rain, which costs nothing; fog; lost beams; and the last fifth clean again."""
    from eloss_perception.simulation.schedule import CorruptionWindow

    duration_s = num_frames / RATE_HZ
    shares = (0.24, 0.4, 0.6, 0.8)
    rain_s, fog_s, beams_s, end_s = (round(share * duration_s, 1) for share in shares)
    if not 0.0 < rain_s < fog_s < beams_s < end_s:
        return ()
    return (
        CorruptionWindow("rain", 3, rain_s, fog_s),
        CorruptionWindow("fog", 5, fog_s, beams_s),
        CorruptionWindow("beam_missing", 5, beams_s, end_s),
    )
