# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A LiDAR simulator: streets drawn at random, rays cast at them, a sensor that is not ideal.

Where to change what, in the order in which a scan comes about:

- `scene` (one scan), `drive` (many of one street): where the sensor is, in which order all happens.
- `street`: which lanes there are, in which order they are filled. `street_side`, `street_ground`:
  its cross-section, bends and hills. `street_traffic`, `street_parking`, `street_vehicles`,
  `street_people`, `street_furniture`, `street_frontage`: what is put where, on a `street_plan`.
- `cars`, `heavy_vehicles`, `vehicle_parts`, `people`, `surroundings`: what each thing looks like.
  `builder`, `parts`, `scene_arrays`: how it is written down; object sizes are drawn in `builder`
  from `kitti_statistics.yaml`.
- `lidar`: the sensors. `rays`: when they fire and where to.
- `raycast` (solids, foliage, glass), `raycast_window` (which rays are tried), `ground` (shape and
  casting of the ground), `depth_buffer`: what each ray hits. `ray_hash`: all randomness of rays.
- `sensor_response`: what is reported of it. `render`: from scene to labelled scan.

Apart from these, `corruptions` degrades any scan, simulated or real; `beams` tells the beam of each
of its points, `schedule` when it is degraded.
"""

SIMULATOR_VERSION = 1
"""To be raised with any change of what is drawn: scans kept of another version are made anew."""
