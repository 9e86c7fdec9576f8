# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A LiDAR simulator: streets drawn at random, rays cast at them, a sensor that is not ideal.

In the order in which a scan comes about:

- `drive`: one scan of a street, or many; where the sensor is.
- `street/`: lanes, cross-section, bends and hills (`plan`), who is on it (`traffic`), what stands
  beside it (`street`).
- `objects/`: what each thing looks like, as solids that `builder` collects; sizes are drawn from
  `kitti_statistics.yaml`.
- `lidar/`: when the beams fire and where to (`rays`), what each hits (`windows`, `raycast`,
  `ground`), what is reported of it (`response`), from scene to labelled scan (`render`). The
  sensors themselves are entries in `detection/sensors.py`.

Apart from these, `corruptions/` degrades any scan, simulated or real; `schedule` says when,
`sensor_variants` makes another unit of the same sensor of it.
"""

SIMULATOR_VERSION = 1
"""To be raised with any change of what is drawn: scans cached from another version are redrawn."""
