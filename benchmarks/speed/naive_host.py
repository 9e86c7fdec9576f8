# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The node's steps around the network in naive NumPy, which `host_path.py` compares with.

What Python ROS detectors mostly do: fields read one by one from a structured array, as
`sensor_msgs_py.point_cloud2` gives it; pillars by sorting points by cell and a loop over pillars
(a loop over points, as in the first Python voxelisers, takes several times as long); peaks, boxes
and rotated NMS in NumPy, with polygons clipped in a loop over pairs; the same readings from NumPy's
histograms. Pillars take the first points of a cell, not those of the smallest hash.
"""

from __future__ import annotations

import math

import numpy as np

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.heads import MAX_SIZE, MIN_SIZE, CenterHead
from eloss_perception.detection.pillars import PointCounts
from eloss_perception.health.scan_statistics import (
    HEIGHT_EDGES,
    INTENSITY_EDGES,
    NUM_FINE_BINS,
    NUM_SLOPE_BINS,
    RANGE_EDGES,
    SLOPE_MAX,
    SLOPE_MIN,
)

NUMPY_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
NUM_SECTORS = 16


def read_points(msg: object) -> np.ndarray:
    """(N, 4) float32 of a PointCloud2's x, y, z and intensity."""
    dtype = np.dtype(
        {
            "names": [field.name for field in msg.fields],
            "formats": [NUMPY_TYPES[field.datatype] for field in msg.fields],
            "offsets": [field.offset for field in msg.fields],
            "itemsize": msg.point_step,
        }
    )
    cloud = np.frombuffer(bytes(msg.data), dtype, count=msg.width * msg.height)
    points = np.stack([cloud[name] for name in ("x", "y", "z", "intensity")], axis=1)
    points = points.astype(np.float32)
    points[:, 3] = np.clip(points[:, 3], 0.0, 1.0)
    return points


def make_pillars(
    points: np.ndarray, grid: PillarGrid
) -> tuple[np.ndarray, np.ndarray, np.ndarray, PointCounts]:
    """Points (P, K, 4), features (P, 6) and cell_to_pillar, and the counts of points."""
    low, high = np.array(grid.point_cloud_range[:3]), np.array(grid.point_cloud_range[3:])
    finite = np.isfinite(points).all(axis=1)
    inside = finite & (points[:, :3] >= low).all(axis=1) & (points[:, :3] < high).all(axis=1)
    kept = points[inside]
    column = ((kept[:, 0] - low[0]) / grid.voxel_size[0]).astype(np.int64)
    row = ((kept[:, 1] - low[1]) / grid.voxel_size[1]).astype(np.int64)
    cells = np.minimum(row, grid.num_y - 1) * grid.num_x + np.minimum(column, grid.num_x - 1)
    order = np.argsort(cells, kind="stable")
    kept, cells = kept[order], cells[order]
    occupied, starts, counts = np.unique(cells, return_index=True, return_counts=True)
    num_occupied = len(occupied)
    center_x = low[0] + (occupied % grid.num_x + 0.5) * grid.voxel_size[0]
    center_y = low[1] + (occupied // grid.num_x + 0.5) * grid.voxel_size[1]
    distance = np.hypot(center_x, center_y)
    if num_occupied > grid.max_pillars:
        nearest = np.sort(np.argsort(distance, kind="stable")[: grid.max_pillars])
        occupied, starts, counts = occupied[nearest], starts[nearest], counts[nearest]
        center_x, center_y, distance = center_x[nearest], center_y[nearest], distance[nearest]

    num_pillars, num_places = len(occupied), grid.max_points_per_pillar
    pillar_points = np.zeros((num_pillars, num_places, 4), np.float32)
    features = np.zeros((num_pillars, 6), np.float32)
    for pillar in range(num_pillars):
        num = min(counts[pillar], num_places)
        members = kept[starts[pillar] : starts[pillar] + num].copy()
        members[:, 0] -= center_x[pillar]
        members[:, 1] -= center_y[pillar]
        pillar_points[pillar, :num] = members
        pillar_points[pillar, num:] = members[0]
        features[pillar, :4] = members.mean(axis=0)
    features[:, 4] = np.log1p(counts)
    features[:, 5] = distance
    cell_to_pillar = np.full(grid.num_cells, num_pillars, np.int32)
    cell_to_pillar[occupied] = np.arange(num_pillars)

    is_pillar = np.zeros((grid.num_y, grid.num_x), bool)
    is_pillar.ravel()[occupied] = True
    around = np.zeros(is_pillar.shape, np.int64)
    for up in (-1, 0, 1):
        for right in (-1, 0, 1):
            around += np.roll(is_pillar, (up, right), (0, 1))
    lone = (around == 1) & is_pillar
    num_kept = int(np.minimum(counts, num_places).sum())
    point_counts = PointCounts(
        num_points=num_kept,
        num_dropped_points=len(kept) - num_kept,
        num_out_of_range=int(finite.sum()) - len(kept),
        num_non_finite=len(points) - int(finite.sum()),
        num_input_points=len(points),
        num_pillars=num_pillars,
        num_dropped_pillars=num_occupied - num_pillars,
        num_lone_pillars=int(lone[1:-1, 1:-1].sum()),
        num_single_pillars=int((counts == 1).sum()),
    )
    return pillar_points, features, cell_to_pillar, point_counts


def decode(
    class_logits: np.ndarray,
    box_regression: np.ndarray,
    head: CenterHead,
    grid: PillarGrid,
    least_score: float,
    nms_iou: float,
    max_boxes: int,
) -> Boxes3D:
    """Boxes of a centre head's maps."""
    with np.errstate(over="ignore"):
        scores = 1.0 / (1.0 + np.exp(-class_logits))  # (C, H, W)
    padded = np.pad(class_logits, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    height, width = class_logits.shape[1:]
    shifts = [(r, c) for r in range(3) for c in range(3)]
    highest = np.max([padded[:, r : r + height, c : c + width] for r, c in shifts], axis=0)
    labels, rows, columns = np.nonzero((scores >= least_score) & (class_logits == highest))
    values = box_regression[:, rows, columns].astype(np.float64)  # (9, N)
    cell_x, cell_y = (size * head.stride for size in grid.voxel_size)
    axis = 0.5 * np.arctan2(values[6], values[7])
    yaw = np.where(values[8] >= 0.0, axis, axis + np.pi)
    yaw = (yaw + np.pi) % (2.0 * np.pi) - np.pi
    boxes = np.stack(
        [
            grid.point_cloud_range[0] + (columns + 0.5 + values[0]) * cell_x,
            grid.point_cloud_range[1] + (rows + 0.5 + values[1]) * cell_y,
            values[2],
            *np.clip(np.exp(values[3:6]), MIN_SIZE, MAX_SIZE),
            yaw,
        ],
        axis=1,
    )
    found = scores[labels, rows, columns]
    order = np.argsort(-found, kind="stable")
    boxes, found, labels = boxes[order], found[order], labels[order]
    kept: list[int] = []
    for i in range(len(boxes)):
        if not any(labels[i] == labels[j] and iou(boxes[i], boxes[j]) > nms_iou for j in kept):
            kept.append(i)
    kept = kept[:max_boxes]
    return Boxes3D(boxes[kept].astype(np.float32), found[kept], labels[kept])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes seen from above."""
    reach = 0.5 * (math.hypot(a[3], a[4]) + math.hypot(b[3], b[4]))
    if math.hypot(a[0] - b[0], a[1] - b[1]) > reach:
        return 0.0
    polygon, other = footprint(a), footprint(b)
    for k in range(4):
        start, edge = other[k], other[(k + 1) % 4] - other[k]
        clipped: list[np.ndarray] = []
        for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            side_p = edge[0] * (p[1] - start[1]) - edge[1] * (p[0] - start[0])
            side_q = edge[0] * (q[1] - start[1]) - edge[1] * (q[0] - start[0])
            if side_p >= 0.0:
                clipped.append(p)
            if side_p * side_q < 0.0:
                clipped.append(p + (q - p) * side_p / (side_p - side_q))
        polygon = clipped
        if not polygon:
            return 0.0
    area = 0.5 * sum(
        p[0] * q[1] - p[1] * q[0] for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True)
    )
    return area / (a[3] * a[4] + b[3] * b[4] - area)


def footprint(box: np.ndarray) -> list[np.ndarray]:
    """Corners of a box, counter-clockwise."""
    cos, sin = math.cos(box[6]), math.sin(box[6])
    turn = np.array([[cos, -sin], [sin, cos]])
    corners = [(0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)]
    return [turn @ (corner * box[3:5]) + box[:2] for corner in corners]


def quarter(points: np.ndarray) -> np.ndarray:
    """The points that are read, `detection/points.py`'s."""
    bits = points.view(np.uint32)
    keys = (bits[:, 0] * np.uint32(0x9E3779B1)) ^ (bits[:, 1] * np.uint32(0x85EBCA77))
    return points[(keys & np.uint32(0x30000)) == 0]


def scan_readings(sample: np.ndarray) -> np.ndarray:
    """`health/scan_statistics.py`'s readings of a sample, without the ground's."""
    square = (sample[:, :3] ** 2).sum(axis=1)
    sample = sample[(square >= 0.3**2) & (square <= 300.0**2) & np.isfinite(sample[:, 3])]
    x, y, z = sample[:, 0], sample[:, 1], sample[:, 2]
    flat = np.hypot(x, y)
    slope = z / np.maximum(flat, 1e-3)
    total = len(sample)
    brightness = (np.clip(sample[:, 3], 0.0, 1.0) * 1000.0).astype(int)
    edges = np.linspace(SLOPE_MIN, SLOPE_MAX, NUM_FINE_BINS + 1)
    fine = np.histogram(slope[(slope >= SLOPE_MIN) & (slope < SLOPE_MAX)], edges)[0]
    sector = sector_of(x, y)
    sectors = np.bincount(sector, minlength=NUM_SECTORS)
    reach = np.bincount(sector, np.floor(np.minimum(flat, 100.0) * 100.0), NUM_SECTORS)
    lowest = [np.sort(slope[sector == k])[3] if sectors[k] > 3 else 1.0 for k in range(NUM_SECTORS)]
    return np.concatenate(
        [
            [math.log1p(total)],
            log_shares(bins(np.linalg.norm(sample[:, :3], axis=1), RANGE_EDGES), total),
            log_shares(bins(z, HEIGHT_EDGES), total),
            log_shares(fine.reshape(NUM_SLOPE_BINS, -1).sum(axis=1), total),
            ring_readings(fine),
            sector_readings(sectors, reach),
            [brightness.mean() / 1000.0, brightness.std() / 1000.0],
            log_shares(bins(brightness // 2 * 2 + 1, 1000.0 * np.array(INTENSITY_EDGES)), total),
            lowest,
        ]
    )


def sector_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sectors by the diamond angle, as `health/scan_statistics.py` has them."""
    ratio = y / (np.abs(x) + np.abs(y) + 1e-6)
    angle = np.where(x >= 0.0, ratio, 2.0 - ratio) % 4.0
    return np.minimum((angle * (NUM_SECTORS / 4)).astype(int), NUM_SECTORS - 1)


def bins(values: np.ndarray, edges: tuple[float, ...] | np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)


def log_shares(counts: np.ndarray, total: int) -> np.ndarray:
    return np.log((counts + 20.0) / (total + 20.0 * len(counts)))


def ring_readings(fine: np.ndarray) -> list[float]:
    full = np.flatnonzero(fine >= 0.0005 * fine.sum())
    fine = fine[full[0] : full[-1] + 1]
    means = [fine[max(0, i - 4) : i + 5].mean() for i in range(len(fine))]
    gaps = np.mean(fine < 0.1 * np.array(means))
    uneven = np.abs(np.diff(fine)).sum()
    return [gaps, math.log((uneven + 1.0) / (fine.sum() + 1.0))]


def sector_readings(sectors: np.ndarray, reach: np.ndarray) -> list[float]:
    total, mean = sectors.sum(), (sectors.sum() + 1.0) / NUM_SECTORS
    ordered = np.sort(sectors)[[0, NUM_SECTORS // 4, -1 - NUM_SECTORS // 4, -1]]
    angles = 2.0 * np.pi * (np.arange(NUM_SECTORS) + 0.5) / NUM_SECTORS
    sides = [[(4 * side + k) % NUM_SECTORS for k in (-2, -1, 0, 1)] for side in range(4)]
    return [
        *np.log((ordered + 0.02 * mean) / mean),
        (np.cos(angles) * sectors).sum() / (total + 1.0),
        (np.sin(angles) * sectors).sum() / (total + 1.0),
        *(math.log((reach[side].sum() + 100.0) / (sectors[side].sum() + 1.0)) for side in sides),
    ]


def ground_readings(sample: np.ndarray) -> np.ndarray:
    """Pitch, roll [deg] and height [m] of the plane under the points."""
    near = sample[(np.abs(sample[:, :2]) < 20.0).all(axis=1) & (np.abs(sample[:, 2] + 1.5) < 2.5)]
    column = ((near[:, 0] + 20.0) * 2.0).astype(int)
    row = ((near[:, 1] + 20.0) * 2.0).astype(int)
    cell = row * 80 + column
    counts = np.bincount(cell, minlength=6400)
    low, high = np.full(6400, np.inf), np.full(6400, -np.inf)
    np.minimum.at(low, cell, near[:, 2])
    np.maximum.at(high, cell, near[:, 2])
    flat = np.flatnonzero((counts >= 3) & (high - low <= 0.35))
    x, y = (flat % 80 + 0.5) * 0.5 - 20.0, (flat // 80 + 0.5) * 0.5 - 20.0
    z = np.bincount(cell, near[:, 2], 6400)[flat] / counts[flat]
    plane = np.array([0.0, 0.0, -1.73])
    for gate in (0.7, 0.35, 0.18, 0.12):
        system = np.column_stack([x, y, np.ones(len(x))])
        keep = np.abs(z - system @ plane) < gate
        if keep.sum() < 25:
            break
        plane = np.linalg.lstsq(system[keep], z[keep], rcond=None)[0]
    return np.array([*np.degrees(np.arctan(plane[:2])), plane[2]])


def fingerprints(sample: np.ndarray) -> np.ndarray:
    """(16,) `health/recent_frames.py`'s number for the points of each sector."""
    sector = sector_of(sample[:, 0], sample[:, 1])
    bits = sample.view(np.uint32).astype(np.uint64)
    mixed = bits[:, 0] << np.uint64(32) | bits[:, 1]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= bits[:, 2] << np.uint64(32) | bits[:, 3]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    sums = np.zeros(NUM_SECTORS, np.uint64)
    np.add.at(sums, sector, mixed ^ (mixed >> np.uint64(31)))
    return sums
