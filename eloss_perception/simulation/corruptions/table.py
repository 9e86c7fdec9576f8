# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""All corruptions by name, with what their severities mean, and how one is put on a scan.

A new one is a function in the file of its kind and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eloss_perception.errors import CloudError, ConfigError
from eloss_perception.simulation.corruptions import driver, noise, sensor, weather
from eloss_perception.simulation.corruptions.scan import PointArray, Rng, is_return

SEVERITIES = (1, 2, 3, 4, 5)
KINDS = ("weather", "sensor", "noise", "loss", "mounting", "driver")


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to degrade a scan.

    Attributes:
        function: Takes points, severity and random generator, and the previous clean scan or None
            if `takes_previous`.
        what: What the five severities mean, with units.
        source: Where the numbers come from.
        kind: One of ``KINDS``.
        has_degree: False where every severity is the same.
        is_persistent: Drawn once for a window of time (a dead laser stays dead), not every scan.
        takes_previous: Made of this scan and the one before.
        needs_previous: Shows between scans only: there is nothing to see in a single one.
        words: For a person, where the name does not say enough.
        like_traffic: Takes away what a passing vehicle takes away as well: as a sudden change it
            raises no alarm.
    """

    function: Callable[..., PointArray]
    what: str
    source: str
    kind: str
    has_degree: bool = True
    is_persistent: bool = False
    takes_previous: bool = False
    needs_previous: bool = False
    words: str = ""
    like_traffic: bool = False

    def apply(
        self, points: PointArray, severity: int, rng: Rng, previous: PointArray | None = None
    ) -> PointArray:
        """Returns the degraded scan, without the checks of `corrupt`; arguments as there."""
        before = (previous,) if self.takes_previous else ()
        return self.function(points, severity, rng, *before)


_DONG = "Dong et al., Common Corruptions, CVPR 2023"
_ROBO3D = "Kong et al., Robo3D, ICCV 2023"
_HAHNER_SNOW = "Hahner et al., LiDAR Snowfall Simulation, CVPR 2022"
_PRACTICE = "a driver's or its settings' mistake; no numbers to cite"

CORRUPTIONS: dict[str, Corruption] = {
    "fog": Corruption(
        weather.fog,
        "meteorological visibility 600, 300, 150, 100, 50 m",
        "Rasshofer et al., Adv. Radio Sci. 2011; Hahner et al., Fog Simulation, ICCV 2021",
        "weather",
    ),
    "snow": Corruption(
        weather.snow,
        "snowfall 0.2, 0.5, 1, 2.5, 5 mm/h of water: early returns and attenuation",
        f"{_HAHNER_SNOW}; flake sizes: Gunn and Marshall 1958",
        "weather",
    ),
    "rain": Corruption(
        weather.rain,
        "rain 2, 10, 25, 50, 100 mm/h and drops on the cover: weak returns are lost",
        "drop sizes: Marshall and Palmer 1948; Goodin et al. 2019; cover: Fersch et al. 2016",
        "weather",
    ),
    "wet_ground": Corruption(
        weather.wet_ground,
        "20, 40, 60, 80, 100 % wet road: darker, and no return at flat incidence",
        f"{_HAHNER_SNOW}; Fresnel; Lekner and Dorf 1988",
        "weather",
    ),
    "beam_missing": Corruption(
        sensor.beam_missing,
        "12.5, 25, 50, 62.5, 75 % of the lasers dead",
        _ROBO3D,
        "sensor",
        is_persistent=True,
        words="like lost beams",
    ),
    "crosstalk": Corruption(
        sensor.crosstalk,
        "0.4, 0.8, 1.2, 1.6, 2 % of the points 3 m (sigma) off",
        _ROBO3D,
        "sensor",
        words="like cross-talk",
    ),
    "incomplete_echo": Corruption(
        sensor.incomplete_echo,
        "30, 50, 70, 85, 95 % of the dark returns at vehicles' height lost",
        f"{_ROBO3D} (there by label, here by darkness)",
        "sensor",
        words="like lost dark returns",
        like_traffic=True,
    ),
    "cross_sensor": Corruption(
        sensor.cross_sensor,
        "48, 32, 21, 16, 11 of 64 beams, evenly spaced",
        f"{_ROBO3D}; beam counts of common sensors",
        "sensor",
        is_persistent=True,
        words="like fewer beams",
    ),
    "motion_blur": Corruption(
        sensor.motion_blur,
        "uncompensated motion: 5, 10, 15, 20, 25 m/s, turning at 6, 9, 11, 13, 14 deg/s",
        "kinematics of a 10 Hz sweep; idea: Robo3D and Dong et al.",
        "sensor",
        is_persistent=True,
    ),
    "gaussian_noise": Corruption(
        noise.gaussian_noise, "sigma 2, 4, 6, 8, 10 cm on each coordinate", _DONG, "noise"
    ),
    "uniform_noise": Corruption(
        noise.uniform_noise, "up to ±2, 4, 6, 8, 10 cm on each coordinate", _DONG, "noise"
    ),
    "impulse_noise": Corruption(
        noise.impulse_noise,
        "3.3, 4, 5, 6.7, 10 % of the points anywhere along their ray",
        f"shares: {_DONG}; along the ray as a detector that fires without echo",
        "noise",
    ),
    "intensity_noise": Corruption(
        noise.intensity_noise,
        "sigma 0.02, 0.05, 0.1, 0.2, 0.3 on the intensity",
        "from the receiver's own spread in our scans (0.02 to 0.06) upwards",
        "noise",
    ),
    "point_dropout": Corruption(
        noise.point_dropout,
        "10, 25, 40, 55, 70 % of the points lost",
        f"density decrease: {_DONG}",
        "loss",
        words="like lost points",
    ),
    "local_dropout": Corruption(
        noise.local_dropout,
        "5, 10, 20, 40, 80 holes of 2 m radius",
        f"local density decrease: {_DONG}",
        "loss",
        words="like holes in the scan",
        like_traffic=True,
    ),
    "field_of_view": Corruption(
        noise.field_of_view,
        "180, 120, 90, 60, 40 degrees ahead are left",
        f"field-of-view lost: {_DONG}, from its middle on",
        "loss",
        is_persistent=True,
        words="like a narrow view",
    ),
    "dirt": Corruption(
        noise.dirt,
        "2, 4, 6, 9, 12 blotches on the cover, 70, 90, 97, 99, 100 % opaque",
        "two passes through the cover and the range law; floor: HDL-64E's data sheet",
        "loss",
        is_persistent=True,
        words="like dirt on the cover",
    ),
    "pitch": Corruption(
        driver.pitch,
        "0.5, 1, 1.5, 2, 3 degrees nose up or down",
        f"spatial misalignment: {_DONG}",
        "mounting",
        is_persistent=True,
        words="like a pitched sensor",
    ),
    "roll": Corruption(
        driver.roll,
        "0.5, 1, 1.5, 2, 3 degrees to the left or right",
        f"spatial misalignment: {_DONG}",
        "mounting",
        is_persistent=True,
        words="like a rolled sensor",
    ),
    "height_offset": Corruption(
        driver.height_offset,
        "0.1, 0.2, 0.3, 0.4, 0.5 m too high or too low",
        "from a loaded vehicle's springs to another vehicle's roof",
        "mounting",
        is_persistent=True,
        words="like another mounting height",
    ),
    "intensity_scale": Corruption(
        driver.intensity_scale,
        "intensity times 0.7, 0.5, 0.3, 0.15, 0 (constant)",
        "gain drift; severity 5 is 0-1 taken for 0-255",
        "driver",
        is_persistent=True,
        words="like a wrong intensity scale",
    ),
    "intensity_saturated": Corruption(
        driver.intensity_saturated,
        "0-255 taken for 0-1 and clipped: all but 0 is 1",
        _PRACTICE,
        "driver",
        has_degree=False,
        is_persistent=True,
        words="like intensities off the scale",
    ),
    "swapped_axes": Corruption(
        driver.swapped_axes,
        "x and y exchanged: a mirrored world",
        _PRACTICE,
        "driver",
        has_degree=False,
        is_persistent=True,
    ),
    "wrong_frame": Corruption(
        driver.wrong_frame,
        "a frame with y forward: turned by 90 degrees",
        _PRACTICE,
        "driver",
        has_degree=False,
        is_persistent=True,
        words="like a rotated frame",
    ),
    "stale_scan": Corruption(
        driver.stale_scan,
        "the scan before, over and over, under new stamps",
        _PRACTICE,
        "driver",
        has_degree=False,
        is_persistent=True,
        takes_previous=True,
        needs_previous=True,
    ),
    "halved_rotation": Corruption(
        driver.halved_rotation,
        "half of the revolution missing, cut at a random azimuth",
        _PRACTICE,
        "driver",
        has_degree=False,
        is_persistent=True,
        words="like half of a sweep",
    ),
    "time_shift": Corruption(
        driver.time_shift,
        "half of the sweep 100 ms older; without the scan before: at 2, 4, 6, 8, 10 m/s",
        f"time shift; {_PRACTICE}",
        "driver",
        is_persistent=True,
        takes_previous=True,
        words="like a time jump in a sweep",
    ),
}


def corrupt(
    points: PointArray, name: str, severity: int, seed: int, previous: PointArray | None = None
) -> PointArray:
    """Returns the scan as a degraded sensor would have delivered it.

    Rows that are no returns (not finite, or kilometres away) were not measured: they are passed on
    unchanged, behind the others.

    Args:
        points: (N, 4) float32 x, y, z [m, LiDAR frame] and intensity in [0, 1]; columns behind
            these, such as the row of a message, go with their point. Not modified.
        name: One of ``CORRUPTIONS``.
        severity: 1 (barely visible) to 5 (severe).
        seed: The same seed gives the same result.
        previous: (K, 4) the clean scan before this one, if there was one; with the same further
            columns. Not modified.

    Returns:
        (M, 4) float32, or as many columns as there were.

    Raises:
        ConfigError: Unknown name or severity out of range.
        CloudError: Points of another shape.
    """
    if name not in CORRUPTIONS:
        raise ConfigError(
            f"unknown corruption {name!r}; valid are {', '.join(sorted(CORRUPTIONS))}"
        )
    if severity not in SEVERITIES:
        raise ConfigError(f"severity of {name} is {severity!r}; valid are 1, 2, 3, 4, 5")
    points = _checked(points)
    if previous is not None:
        previous = _checked(previous)
    corruption = CORRUPTIONS[name]
    rng = np.random.default_rng(seed)
    if corruption.needs_previous:  # Repeats a scan as a whole.
        return corruption.apply(points, severity, rng, previous)
    measured = is_return(points)
    if measured.all():
        return corruption.apply(points, severity, rng, previous)
    corrupted = corruption.apply(points[measured], severity, rng, previous)
    return np.concatenate([corrupted, points[~measured]])


def _checked(points: PointArray) -> PointArray:
    if points.ndim != 2 or points.shape[1] < 4:
        raise CloudError(f"points have shape {points.shape}; (N, 4) expected")
    return np.ascontiguousarray(points, dtype=np.float32)
