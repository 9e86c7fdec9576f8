# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's pictures: bird's-eye views, the camera, entropy profiles, health, an animation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from eloss_perception.datasets.kitti.dataset import KittiSequence
from eloss_perception.detection.boxes import CLASS_NAMES, Boxes3D
from eloss_perception.plots.animation import DriveAnimation, save_animation
from eloss_perception.plots.bev import render_bev
from eloss_perception.plots.boxes import render_camera
from eloss_perception.plots.health_charts import Profile, render_profile
from eloss_perception.plots.style import save_png
from eloss_perception.plots.timeline import Timeline, render_timeline
from eloss_perception.replay.demo.record import (
    CarsFound,
    DemoRecord,
    Frame,
    Phase,
    count_cars,
    phases_of,
)
from eloss_perception.simulation.schedule import CorruptionWindow

# Every other scan, at the drive's own speed: half the file, and the eye does not miss the rest.
_ANIMATION_STEP = 2
ANIMATION_NAME = "drive.gif"


class DemoPictures:
    """Draws a run of the demo into a folder.

    Args:
        record: The run.
        corruptions: How the scans were corrupted.
        rate_hz: Scans a second.
        title: What was driven.
        folder: Where the pictures go.
    """

    def __init__(
        self,
        record: DemoRecord,
        corruptions: Sequence[CorruptionWindow],
        rate_hz: float,
        title: str,
        folder: Path,
    ) -> None:
        self._record = record
        self._rate_hz = rate_hz
        self._title = title
        self._folder = folder
        end_s = record.frames[-1].time_s + 1.0 / rate_hz
        windows = [
            (window.start_s, min(window.end_s, end_s), f"{window.name}:{window.severity}")
            for window in corruptions
            if window.start_s < end_s
        ]
        judged = [frame for frame in record.frames if frame.health is not None]
        self._index_of = {frame.stamp_ns: index for index, frame in enumerate(judged)}
        self._timeline = _timeline(judged, windows) if judged else None

    def draw(self, progress: Callable[[int], None]) -> tuple[CarsFound, list[Path]]:
        """Reads all scans again, counts cars and draws; returns the count and the files written."""
        best = {_showcase(phase).stamp_ns: phase for phase in phases_of(self._record.frames)}
        cars = CarsFound({}, {})
        written: list[Path] = []
        timeline = self._timeline
        animation = (
            None if timeline is None else DriveAnimation(timeline, CLASS_NAMES, title=self._title)
        )
        pictures = []
        for index, (frame, points) in enumerate(self._record.points()):
            num_true, num_found = count_cars(frame, points)
            cars.num_true[frame.stamp_ns] = num_true
            cars.num_found[frame.stamp_ns] = num_found
            if frame.stamp_ns in best:
                written += self._draw_showcase(best[frame.stamp_ns], frame, points)
            place = self._index_of.get(frame.stamp_ns)
            if index % _ANIMATION_STEP == 0 and animation is not None and place is not None:
                boxes, profile = _boxes(frame), _profile(frame.health)
                pictures.append(animation.frame(points, boxes, profile, place, frame.condition))
            progress(index + 1)
        if timeline is not None:
            written.append(self._folder / "health_timeline.png")
            title = f"Entropy health: {self._title}"
            note = "expected AP loss: each scan (dots) and averaged (line)"
            save_png(written[-1], render_timeline(timeline, title=title, note=note))
        if pictures:
            written.append(self._folder / ANIMATION_NAME)
            save_animation(written[-1], pictures, self._rate_hz / _ANIMATION_STEP)
        return cars, written

    def _draw_showcase(
        self, phase: Phase, frame: Frame, points: npt.NDArray[np.float32]
    ) -> list[Path]:
        """Draws one phase's bird's-eye view and entropy profile; returns the files."""
        name = phase.title.replace(":", "_").replace(" + ", "_")
        scan = self._folder / f"birds_eye_{name}.png"
        health = frame.health
        level = "" if health is None else f", score {health.score:.1f}"
        picture = render_bev(
            points,
            _boxes(frame),
            CLASS_NAMES,
            frame.truth_boxes[frame.truth_labels >= 0],
            title=f"{self._title}: {phase.title}",
            subtitle=f"{frame.time_s:.1f} s, {len(points):,} points{level}",
        )
        save_png(scan, picture)
        if health is None:
            return [scan]
        path = self._folder / f"entropy_profile_{name}.png"
        title = f"Entropy profile: {phase.title}, {frame.time_s:.1f} s"
        save_png(path, render_profile(_profile(health), int(health.level), title=title))
        return [scan, path]


def _timeline(frames: Sequence[Frame], windows: Sequence[tuple[float, float, str]]) -> Timeline:
    health = [frame.health for frame in frames if frame.health is not None]
    return Timeline(
        [frame.time_s for frame in frames],
        [message.score for message in health],
        [int(message.level) for message in health],
        health[0].threshold,
        [len(_boxes(frame)) for frame in frames],
        windows,
        [message.smoothed_score for message in health],
        # A reason begins with the cause in words.
        [m.reason.partition(" (")[0] if m.likely_cause else "" for m in health],
    )


def _profile(health: Any) -> Profile:
    return Profile(health.layer_names, health.layer_entropy, health.normal_mean, health.normal_std)


def _boxes(frame: Frame) -> Boxes3D:
    return Boxes3D.empty() if frame.boxes is None else frame.boxes


def draw_camera(record: DemoRecord, sequence: KittiSequence, output: Path) -> list[Path]:
    """Draws boxes into the middle image of the sequence's camera; returns the file, if any."""
    index = len(record.frames) // 2
    frame, frame_id = record.frames[index], sequence.ids[index]
    image_path = sequence.image_path(frame_id)
    if frame.boxes is None or image_path is None:
        return []
    with Image.open(image_path) as image:
        pixels = np.asarray(image.convert("RGB"))
    calibration = sequence.calibration(frame_id)
    path = output / "camera.png"
    save_png(path, render_camera(pixels, frame.boxes, CLASS_NAMES, calibration.lidar_to_image))
    return [path]


def _showcase(phase: Phase) -> Frame:
    """Returns the scan that shows a phase: of its second half, once the level has settled."""
    answered = [frame for frame in phase.frames if frame.boxes is not None] or list(phase.frames)
    return answered[3 * len(answered) // 4]
