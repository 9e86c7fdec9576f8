# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a LiDAR's receiver can still see, and the beam it looks along: the HDL-64E's.

The power of an echo is written as reflectivity / range^2 [1/m^2]: that of a diffuse target which
fills the beam, up to a constant of the sensor.
"""

from __future__ import annotations

# Whatever was returned in clear air was above the receiver's floor: the echo of 5 % at 100 m, and
# an intensity of 0 is rounding, not darkness (HDL-64E's data sheet: 50 m on a 10 % target, 120 m on
# 80 %; its scans reach 80 m on asphalt).
MIN_REFLECTIVITY = 0.05
NOISE_FLOOR = MIN_REFLECTIVITY / 100.0**2
# Emitter and receiver sit side by side: the receiver sees nothing of the beam before the first, all
# of it from the second range on [m]. The second is fitted so that in fog of 50 m visibility the
# view ends near 25 m: in a fog chamber LiDARs lose targets well before the eye does (Bijelic et
# al., *A Benchmark for Lidar Sensors in Fog*, IV 2018).
OVERLAP_START_M, OVERLAP_FULL_M = 2.0, 10.0
# Beam diameter at the cover [m] and divergence [rad] (HDL-64E's data sheet: 2 mrad).
BEAM_DIAMETER_M, BEAM_DIVERGENCE = 0.01, 0.002
# A full turn at 10 Hz [s].
SWEEP_S = 0.1
