# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures: where things are drawn, in which colour, and what the files hold."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.errors import ConfigError
from eloss_perception.health.monitor import HealthLevel
from eloss_perception.plots.animation import DriveAnimation, save_animation
from eloss_perception.plots.bev import BevView, rasterise_points, render_bev
from eloss_perception.plots.boxes import dashed, outline, render_camera
from eloss_perception.plots.charts import (
    Curve,
    Panel,
    PrecisionCurve,
    render_curves,
    render_precision_recall,
)
from eloss_perception.plots.comparisons import OUTCOME_COLOURS, OutcomeBoxes, render_outcomes
from eloss_perception.plots.health_charts import (
    Profile,
    render_health_table,
    render_profile,
    render_profiles,
)
from eloss_perception.plots.style import (
    CLASS_COLOURS,
    GROUND_TRUTH,
    LEVEL_COLOURS,
    LEVEL_NAMES,
    OTHER_CLASS,
    class_colour,
    point_ramp,
    save_png,
)
from eloss_perception.plots.timeline import Timeline, render_timeline

CLASSES = ("Car", "Pedestrian", "Cyclist")
EXTENT = (-10.0, -20.0, 30.0, 20.0)
SIZE = (400, 400)
NO_POINTS = np.zeros((0, 4), np.float32)


def boxes_of(*rows: tuple[list[float], float, int]) -> Boxes3D:
    boxes, scores, labels = zip(*rows, strict=True)
    return Boxes3D(
        np.array(boxes, np.float32), np.array(scores, np.float32), np.array(labels, np.int64)
    )


def near(picture: NDArray[np.uint8], colour: tuple[int, int, int], tolerance: int = 70):
    """Return the mask of the pixels about as coloured as `colour`; thin lines are dimmed."""
    difference = np.abs(picture.astype(int) - np.array(colour)).max(axis=-1)
    return difference <= tolerance


def draw(boxes: Boxes3D, points: NDArray[np.float32] = NO_POINTS, **options) -> NDArray[np.uint8]:
    options = {"extent": EXTENT, "size": SIZE, "frame": False, "with_scores": False} | options
    return render_bev(points, boxes, CLASSES, **options)


def test_forward_is_up_and_left_is_left():
    view = BevView(EXTENT, *SIZE)
    assert view.pixels_per_metre == 10.0
    ahead, left = view.to_pixels(np.array([[10.0, 0.0], [0.0, 5.0]]))
    assert ahead.tolist() == [200.0, 200.0]
    assert left.tolist() == [150.0, 300.0]


@pytest.mark.parametrize("size", [(400, 200), (200, 400)])
def test_the_whole_extent_is_visible_in_any_shape(size):
    view = BevView(EXTENT, *size)
    corners = np.array([[x, y] for x in EXTENT[::2] for y in EXTENT[1::2]])
    pixels = view.to_pixels(corners)
    assert (pixels >= 0).all()
    assert (pixels <= np.array(size)).all()


def test_an_empty_extent_is_refused():
    with pytest.raises(ValueError, match="extent"):
        BevView((0.0, 0.0, 0.0, 10.0), 100, 100)


def test_a_point_lights_its_pixel_in_the_colour_of_its_height():
    view = BevView(EXTENT, *SIZE)
    points = np.array([[10.05, 5.05, 1.2, 0.5]], np.float32)
    picture = rasterise_points(points, view, height_range=(-2.0, 1.2))
    assert picture.shape == (400, 400, 3)
    assert picture.dtype == np.uint8
    column, row = view.to_pixels(points).astype(int)[0]
    assert tuple(picture[row, column]) == tuple(point_ramp()[255])
    assert not near(picture[:100], tuple(point_ramp()[255])).any()


def test_the_highest_point_of_a_pixel_wins_in_any_order():
    rng = np.random.default_rng(3)
    points = rng.uniform(-15, 15, (20_000, 4)).astype(np.float32)
    view = BevView(EXTENT, 80, 80)
    picture = rasterise_points(points, view)
    assert np.array_equal(picture, rasterise_points(points[::-1], view))
    assert np.array_equal(picture, rasterise_points(rng.permutation(points), view))


def test_points_without_a_place_are_left_out():
    view = BevView(EXTENT, *SIZE)
    bad = np.array(
        [
            [np.nan, 0, 0, 0],
            [np.inf, 0, 0, 0],
            [0, -np.inf, 0, 0],
            [1, 1, np.nan, 0],
            [500, 0, 0, 0],
            [1e30, 1e30, 0, 0],
        ],
        np.float32,
    )
    assert np.array_equal(rasterise_points(bad, view), rasterise_points(NO_POINTS, view))


def test_intensity_colours_points():
    view = BevView(EXTENT, *SIZE)
    points = np.array([[10.05, 5.05, -2.0, 1.0], [10.05, -5.05, -2.0, np.nan]], np.float32)
    picture = rasterise_points(points, view, "intensity")
    (u, v), (dark_u, dark_v) = view.to_pixels(points).astype(int)
    assert tuple(picture[v, u]) == tuple(point_ramp()[255])
    assert tuple(picture[dark_v, dark_u]) == tuple(point_ramp()[0])


@pytest.mark.parametrize(("label", "name"), list(enumerate(CLASSES)))
def test_a_box_has_its_outline_where_it_is_in_the_colour_of_its_class(label, name):
    picture = draw(boxes_of(([20.0, -5.0, 0.0, 6.0, 2.0, 1.5, 0.0], 0.9, label)))
    colour = CLASS_COLOURS[name.lower()]
    view = BevView(EXTENT, *SIZE)
    # Middle of the left side and of the rear: on the outline. The centre is not.
    for x, y in [(20.0, -4.0), (17.0, -5.0)]:
        column, row = view.to_pixels(np.array([x, y])).astype(int)
        assert near(picture[row - 2 : row + 3, column - 2 : column + 3], colour).any()
    column, row = view.to_pixels(np.array([20.0, -5.0])).astype(int)
    assert not near(picture[row - 3 : row + 4, column - 3 : column + 4], colour).any()
    rows, columns = np.nonzero(near(picture[:240], colour))  # below is the ego vehicle
    # 6 m x 2 m at 10 px a metre, and 1 m of heading tick ahead of the front.
    assert 68 <= np.ptp(rows) <= 74
    assert 19 <= np.ptp(columns) <= 24


def test_the_heading_tick_shows_where_the_front_is():
    view = BevView(EXTENT, *SIZE)
    for yaw in (0.0, math.pi / 2, -math.pi / 2, -math.pi):
        picture = draw(boxes_of(([15.0, 0.0, 0.0, 4.0, 2.0, 1.5, yaw], 0.9, 0)))
        tip = np.array([15.0 + 2.7 * math.cos(yaw), 2.7 * math.sin(yaw)])
        tail = np.array([15.0 - 2.7 * math.cos(yaw), -2.7 * math.sin(yaw)])
        for at, expected in [(tip, True), (tail, False)]:
            column, row = view.to_pixels(at).astype(int)
            patch = picture[row - 2 : row + 3, column - 2 : column + 3]
            assert near(patch, CLASS_COLOURS["car"]).any() == expected


def test_ground_truth_is_dashed_white():
    truth = np.array([[15.0, 0.0, 0.0, 10.0, 4.0, 2.0, 0.0]])
    picture = draw(Boxes3D.empty(), ground_truth=truth)
    side = near(picture, GROUND_TRUTH, 90)[100:200, 178:183].any(axis=1)
    changes = int((np.diff(side.astype(int)) != 0).sum())
    assert changes > 8  # dashes and gaps, not one line
    assert 0.3 < side.mean() < 0.85


def test_an_unknown_label_is_drawn_as_another_object():
    picture = draw(boxes_of(([15.0, 0.0, 0.0, 6.0, 4.0, 2.0, 0.0], 0.5, -1)))
    assert near(picture, OTHER_CLASS).any()
    assert class_colour("CAR") == class_colour("car") != class_colour("tram") == OTHER_CLASS


def test_boxes_out_of_sight_and_at_the_edge_do_no_harm():
    far = [
        ([500.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0], 0.9, 0),
        ([0.0, 0.0, 0.0, 5000.0, 4000.0, 1.5, 0.3], 0.9, 0),
    ]
    assert np.array_equal(draw(boxes_of(*far)), draw(Boxes3D.empty()))
    edge = draw(boxes_of(([30.0, 20.0, 0.0, 4.0, 2.0, 1.5, 0.8], 0.9, 0)), with_scores=True)
    assert near(edge, CLASS_COLOURS["car"]).any()


def test_a_hundred_crowded_boxes_never_write_two_scores_over_each_other():
    rng = np.random.default_rng(0)
    rows = [
        ([*rng.uniform(5, 12, 2), 0.0, 0.8, 0.8, 1.7, 0.0], float(s), 1)
        for s in rng.uniform(0, 1, 100)
    ]
    assert draw(boxes_of(*rows), with_scores=True).shape == (400, 400, 3)


def test_header_and_footer_frame_the_picture():
    boxes = boxes_of(([15.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0], 0.9, 0))
    picture = draw(boxes, frame=True, title="Title", subtitle="A very long subtitle " * 20)
    assert picture.shape == (400, 400, 3)
    assert near(picture[380:], CLASS_COLOURS["car"]).any()  # legend
    other = draw(boxes, frame=True, title="Another", subtitle="A very long subtitle " * 20)
    assert not np.array_equal(picture[:38], other[:38])
    assert np.array_equal(picture[38:], other[38:])


def test_rendering_is_deterministic_and_leaves_its_input_alone():
    rng = np.random.default_rng(5)
    points = rng.uniform(-20, 20, (5000, 4)).astype(np.float32)
    before = points.copy()
    boxes = boxes_of(([15.0, 0.0, 0.0, 4.0, 2.0, 1.5, 0.5], 0.9, 0))
    assert np.array_equal(draw(boxes, points), draw(boxes, points))
    assert np.array_equal(points, before)


NAMES = ["a.0", "a.1", "b.0"]


@pytest.mark.parametrize("level", list(HealthLevel))
def test_a_profile_is_drawn_in_the_colour_of_its_level(level):
    picture = render_profile(Profile(NAMES, [0.9, 0.5, 0.2], [0.6] * 3, [0.05] * 3), level)
    assert picture.shape == (540, 900, 3)
    assert picture.dtype == np.uint8
    assert near(picture[60:], LEVEL_COLOURS[level], 4).sum() > 500
    assert LEVEL_NAMES[level] == level.name


def test_a_larger_deviation_gives_a_larger_bar():
    def height(entropy: float) -> int:
        profile = Profile(["a", "b"], [entropy, 0.85], [0.5] * 2, [0.05] * 2)
        column = near(render_profile(profile, 2)[310:, 80:480], LEVEL_COLOURS[2], 8)
        return int(column.any(axis=1).sum())

    assert 0 < height(0.62) < height(0.7) < height(0.8)


def test_a_profile_bears_missing_readings_zero_spread_and_outliers():
    profile = Profile(NAMES, [math.nan, 0.5, 1e6], [0.6, 0.5, 0.4], [0.05, 0.0, 1e-6])
    assert np.isnan(profile.deviations()).tolist() == [True, True, False]
    assert render_profile(profile, HealthLevel.ERROR).shape == (540, 900, 3)
    render_profile(Profile(["only"], [math.nan], [0.0], [0.0]), 0)
    names = [f"a_very_long_layer_name.{i}" for i in range(30)]
    render_profile(Profile(names, *[[0.5] * 30] * 3), 0)


def test_a_profile_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="3 layer names, 2 entropies"):
        Profile(NAMES, [0.1, 0.2], [0.1] * 3, [0.1] * 3)
    with pytest.raises(ValueError, match="at least one"):
        Profile([], [], [], [])


def drive_of(num_frames: int, **changes: object) -> Timeline:
    fields: dict = {
        "times_s": np.arange(num_frames) * 0.1,
        "scores": np.ones(num_frames),
        "levels": [0] * num_frames,
        "threshold": 2.0,
    }
    return Timeline(**(fields | changes))


def test_the_timeline_strip_shows_the_levels_in_order():
    levels = [0] * 10 + [1] * 10 + [2] * 10 + [3] * 10
    picture = render_timeline(drive_of(40, levels=levels), size=(800, 300))
    assert picture.shape == (300, 800, 3)
    # The strip lies between the plot and the axis; its middle row holds all four colours.
    strip = next(
        row
        for row in range(299, 100, -1)
        if all(near(picture[row], LEVEL_COLOURS[level], 4).sum() > 100 for level in range(4))
    )
    starts = [np.flatnonzero(near(picture[strip], LEVEL_COLOURS[k], 4))[0] for k in range(4)]
    assert starts == sorted(starts)
    assert np.ptp(np.diff(starts)) <= 2


def changed_columns(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.intp]:
    return np.flatnonzero((np.abs(one.astype(int) - other) > 24).any(axis=(0, 2)))


LEFT, WIDTH = 62, 1100 - 62 - 18  # of a timeline's axes [px]


def test_windows_change_the_timeline_where_they_are():
    boxes = [3] * 50
    plain = render_timeline(drive_of(50, num_boxes=boxes))
    shaded = render_timeline(drive_of(50, num_boxes=boxes, windows=[(1.0, 2.0, "Fog")]))
    columns = changed_columns(plain, shaded)
    assert abs(columns[0] - (LEFT + WIDTH / 5)) <= 2
    assert abs(columns[-1] - (LEFT + 2 * WIDTH / 5)) <= 2
    late = drive_of(50, num_boxes=boxes, windows=[(9.0, math.inf, "Late")])
    assert np.array_equal(plain, render_timeline(late))


def test_causes_are_written_over_the_spells_that_they_hold_for():
    causes = [""] * 10 + ["like fog"] * 20 + ["like nothing known"] + ["like fog"] * 9
    timeline = drive_of(40, causes=causes)
    assert timeline.spells() == [
        (10, 30, "like fog"), (30, 31, "like nothing known"), (31, 40, "like fog")
    ]  # fmt: skip
    normal = drive_of(40, causes=[""] * 40)
    columns = changed_columns(render_timeline(normal), render_timeline(timeline))
    middle = LEFT + 2.0 * WIDTH / 4  # of the first spell, from second 1 to 3
    assert np.count_nonzero(abs(columns - middle) < 40) > 0
    assert np.all((abs(columns - middle) < 60) | (columns > LEFT + 3.1 * WIDTH / 4))
    assert normal.spells() == []


def test_the_line_follows_the_averaged_scores_and_the_dots_the_scores():
    plain = render_timeline(drive_of(40))
    averaged = render_timeline(drive_of(40, smoothed=[0.0] * 20 + [1.0] * 20))
    columns = changed_columns(plain, averaged)
    assert columns[0] < 85  # the line has left the dots
    assert abs(columns[-1] - (LEFT + 0.5 * WIDTH)) < 20  # and is back on them from the middle on


def test_a_frame_lasts_until_the_next_one_except_before_a_gap():
    timeline = Timeline([0.0, 0.1, 0.2, 0.5, 0.6], *[[0] * 5] * 2, 2.0)
    assert timeline.ends_s() == pytest.approx([0.1, 0.2, 0.3, 0.6, 0.7])


def test_a_timeline_bears_gaps_infinities_and_a_single_frame():
    render_timeline(Timeline([0.0], [1.0], [0], 2.0, num_boxes=[0]))
    scores = [math.nan, math.inf, -math.inf]
    render_timeline(Timeline([0.0, 0.1, 5.0], scores, [3, 2, 2], 2.0, smoothed=scores))
    windows = [(0.0, math.inf, "x" * 300)]
    render_timeline(Timeline([0.0, 0.1], [1e9, 0.0], [2, 0], 1.0, windows=windows))
    render_timeline(Timeline([0.0, 0.0], [0.0, 0.0], [0, 0], 0.0))


def test_a_timeline_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="as many"):
        Timeline([0.0, 0.1], [1.0], [0, 0], 2.0)
    with pytest.raises(ValueError, match="as many"):
        Timeline([0.0], [1.0], [0], 2.0, causes=[])
    with pytest.raises(ValueError, match="at least one"):
        Timeline([], [], [], 2.0)


def demo_frames(*indices: int) -> list[NDArray[np.uint8]]:
    times = np.arange(6) * 0.1
    timeline = Timeline(times, np.arange(6.0), [0, 0, 0, 1, 2, 2], 3.0, [1] * 6)
    animation = DriveAnimation(timeline, CLASSES, size=(480, 400))
    frames = []
    for index in indices:
        points = np.random.default_rng(index).uniform(-20, 20, (3000, 4)).astype(np.float32)
        boxes = boxes_of(([10.0 + index, 0.0, 0.0, 4.0, 2.0, 1.5, 0.0], 0.9, 0))
        profile = Profile(NAMES, [0.5 + 0.02 * index] * 3, [0.5] * 3, [0.03] * 3)
        frames.append(animation.frame(points, boxes, profile, index))
    return frames


def test_a_frame_shows_the_past_and_not_the_future():
    first, last = demo_frames(0, 5)
    assert first.shape == last.shape == (400, 480, 3)
    assert near(first[-190:], LEVEL_COLOURS[2], 4).sum() == 0
    assert near(last[-190:], LEVEL_COLOURS[2], 4).sum() > 50
    with pytest.raises(ValueError, match="frame 6"):
        demo_frames(6)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_holds_all_frames_and_repeats_for_ever(tmp_path, suffix):
    frames = demo_frames(*range(6))
    path = tmp_path / "made" / f"demo{suffix}"
    assert save_animation(path, frames, 5.0) == (480, 400)
    with Image.open(path) as animation:
        assert animation.n_frames == 6
        assert animation.info["loop"] == 0
        assert animation.size == (480, 400)
        animation.seek(3)
        shown = np.asarray(animation.convert("RGB")).astype(int)
        assert animation.info["duration"] == 200
    assert np.abs(shown - frames[3]).mean() < 12


def test_a_gif_keeps_the_colours_that_carry_meaning(tmp_path):
    picture = np.zeros((300, 300, 3), np.uint8)
    picture[:, :, 0] = np.arange(300) % 256  # many shades of red compete for the palette
    wanted = [*CLASS_COLOURS.values(), *LEVEL_COLOURS.values()]
    for row, colour in enumerate(wanted):
        picture[row, 0] = colour  # a single pixel each
    save_animation(tmp_path / "a.gif", [picture], 5.0)
    with Image.open(tmp_path / "a.gif") as animation:
        shown = np.asarray(animation.convert("RGB"))
    assert [tuple(shown[row, 0].tolist()) for row in range(len(wanted))] == wanted


def test_an_animation_shrinks_until_it_fits(tmp_path):
    frames = demo_frames(*range(6))
    path = tmp_path / "demo.gif"
    save_animation(path, frames, 5.0)
    limit = path.stat().st_size // 2
    width, height = save_animation(path, frames, 5.0, max_bytes=limit)
    assert width < 480
    assert abs(width / height - 480 / 400) < 0.01
    assert path.stat().st_size <= limit


@pytest.mark.parametrize(
    ("name", "shapes", "fps", "message"),
    [
        ("a.mp4", [(4, 4)], 5.0, "'.mp4'"),
        ("a.gif", [], 5.0, "no frames"),
        ("a.gif", [(4, 4), (4, 5)], 5.0, "differ"),
        ("a.gif", [(4, 4)], 0.0, "fps"),
    ],
)
def test_what_is_no_animation_is_refused(tmp_path, name, shapes, fps, message):
    frames = [np.zeros((*shape, 3), np.uint8) for shape in shapes]
    with pytest.raises(ConfigError, match=message):
        save_animation(tmp_path / name, frames, fps)


def test_png_round_trip(tmp_path: Path):
    picture = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    save_png(tmp_path / "new" / "a.png", picture)
    with Image.open(tmp_path / "new" / "a.png") as image:
        assert np.array_equal(np.asarray(image), picture)


def test_camera_boxes_are_drawn_around_their_projection():
    def project(points: NDArray[np.float64]):
        depth = points[:, 0]
        return np.stack(
            [200 - 200 * points[:, 1] / depth, 100 - 200 * points[:, 2] / depth], 1
        ), depth

    image = np.zeros((200, 400, 3), np.uint8)
    boxes = boxes_of(
        ([20.0, 0.0, 0.0, 4.0, 4.0, 2.0, 0.0], 0.9, 0),
        ([-20.0, 0.0, 0.0, 4.0, 4.0, 2.0, 0.0], 0.9, 1),  # behind the camera
    )
    picture = render_camera(image, boxes, CLASSES, project)
    assert not image.any()
    rows, columns = np.nonzero(near(picture, CLASS_COLOURS["car"]))
    # The rear face, 18 m away: 2 m and 1 m at 200 px of focal length.
    assert abs(columns.min() - (200 - 200 * 2 / 18)) < 3
    assert abs(columns.max() - (200 + 200 * 2 / 18)) < 3
    assert abs(rows.min() - (100 - 200 / 18)) < 3
    assert not near(picture, CLASS_COLOURS["pedestrian"]).any()
    assert np.array_equal(render_camera(image, Boxes3D.empty(), CLASSES, project), image)


def test_dashes_start_and_end_a_line():
    parts = dashed(np.array([[[0.0, 0.0], [60.0, 0.0]]]))
    assert parts[0, 0].tolist() == [0.0, 0.0]
    assert parts[-1, 1].tolist() == [60.0, 0.0]
    assert len(parts) == 11
    assert dashed(np.ones((1, 2, 2))).tolist() == [[[1.0, 1.0], [1.0, 1.0]]]
    assert outline(np.eye(2)).tolist() == [[[0, 1], [1, 0]], [[1, 0], [0, 1]]]


RED, BLUE = (255, 0, 0), (0, 0, 255)
STEPS = np.arange(5, dtype=float)


def flat(name: str, value: float, spread: float = 0.0) -> Curve:
    return Curve(name, STEPS, np.full(5, value), np.full(5, spread))


def pixels(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns (N, 2) of a colour below the legend."""
    return np.argwhere((picture[40:] == colour).all(axis=2))


def test_larger_values_lie_higher():
    panel = Panel("p", "step", [flat("low", 1.0), flat("high", 2.0)])
    picture = render_curves([panel], {"low": RED, "high": BLUE}, panel_size=(300, 200))
    assert picture.shape == (228, 300, 3)
    assert np.median(pixels(picture, BLUE)[:, 0]) < np.median(pixels(picture, RED)[:, 0]) - 50


def test_a_gap_is_left_where_a_value_is_missing():
    values = np.array([1.0, 1.0, np.nan, 1.0, 1.0])
    panel = Panel("p", "step", [Curve("a", STEPS, values, np.zeros(5)), flat("b", 2.0)])
    picture = render_curves([panel], {"a": RED, "b": BLUE}, panel_size=(300, 200))
    columns = np.unique(pixels(picture, RED)[:, 1])
    assert np.diff(columns).max() > 80  # two of the four steps between the first and last value
    assert np.diff(np.unique(pixels(picture, BLUE)[:, 1])).max() < 20


def test_the_band_widens_the_scale():
    def height_of_line(spread: float) -> float:
        curves = [flat("a", 1.0, spread), flat("b", 2.0)]
        picture = render_curves([Panel("p", "", curves)], {"a": RED, "b": BLUE})
        return float(np.median(pixels(picture, RED)[:, 0]))

    assert height_of_line(3.0) < height_of_line(0.0) - 50


def test_panels_fill_a_grid():
    panels = [Panel(str(i), "", [flat("a", i)]) for i in range(3)]
    picture = render_curves(panels, {"a": RED}, num_columns=2, panel_size=(200, 150))
    assert picture.shape == (28 + 2 * 150, 400, 3)


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no panels"):
        render_curves([], {})
    with pytest.raises(ValueError, match="no finite value"):
        render_curves([Panel("p", "", [flat("a", np.nan)])], {"a": RED})


BEV_COLOUR = (86, 180, 233)


def curve(precision, is_loose=False, metric="bev"):
    return PrecisionCurve(metric, 0.5, is_loose, precision, float(np.mean(precision)))


class TestPrecisionRecall:
    def render(self, lines):
        return render_precision_recall({"Car": lines}, {"Car": 7}, "title", "subtitle")

    def plot(self, picture):
        """Return the part of the plot above the legend."""
        return picture[80:250, 60:360]

    def test_a_panel_for_each_class(self):
        one = self.render([curve([90.0] * 40)])
        two = render_precision_recall({"Car": [], "Cyclist": []}, {}, "title")
        assert two.shape == (one.shape[0], 2 * one.shape[1], 3)

    def test_higher_precision_is_further_up(self):
        rows = []
        for value in (95.0, 70.0):
            mask = near(self.plot(self.render([curve([value] * 40)])), BEV_COLOUR)
            assert mask.sum() >= 300
            rows.append(np.flatnonzero(mask.any(axis=1)).mean())
        assert rows[0] + 30 < rows[1]

    def test_a_line_ends_at_its_last_recall(self):
        picture = self.render([curve([95.0] * 20 + [0.0] * 20)])
        columns = np.flatnonzero(near(self.plot(picture), BEV_COLOUR).any(axis=0))
        assert columns.max() < 170

    def test_the_loose_overlap_is_dashed(self):
        solid, dashed = (
            near(self.plot(self.render([curve([90.0] * 40, loose)])), BEV_COLOUR).any(axis=0)
            for loose in (False, True)
        )
        assert 0.3 * solid.sum() < dashed.sum() < 0.9 * solid.sum()

    def test_nothing_found_and_no_objects(self):
        nan = [float("nan")] * 40
        for values in ([0.0] * 40, nan):
            assert not near(self.plot(self.render([curve(values)])), BEV_COLOUR).any()
        with pytest.raises(ValueError, match="no class"):
            render_precision_recall({}, {}, "title")


class TestOutcomes:
    POINTS = np.zeros((0, 4), np.float32)
    BOX = np.array([[20.0, 5.0, -1.0, 4.0, 1.8, 1.6, 0.3]], np.float32)

    def render(self, **outcomes):
        return render_outcomes(self.POINTS, outcomes, title="frame", size=(600, 600))

    @pytest.mark.parametrize("name", sorted(OUTCOME_COLOURS))
    def test_each_outcome_has_its_colour_where_the_box_is(self, name):
        picture = self.render(**{name: OutcomeBoxes(self.BOX, ["Car"])})
        drawn = (picture != self.render()).any(axis=2) & near(picture, OUTCOME_COLOURS[name], 30)
        rows, columns = np.nonzero(drawn[40:560])
        assert len(rows) > 15
        # Left of the middle, since y is to the left.
        assert columns.max() < 330
        assert np.ptp(rows) < 60

    def test_no_outcome_is_the_scan_alone(self):
        picture = self.render(found=OutcomeBoxes(self.BOX[:0], []))
        assert not near(picture[40:560], OUTCOME_COLOURS["found"], 30).any()

    def test_wrong_input(self):
        with pytest.raises(ValueError, match="one of ignored, found, false, missed"):
            self.render(lost=OutcomeBoxes(self.BOX, [""]))
        with pytest.raises(ValueError, match="2 texts for 1 boxes"):
            self.render(found=OutcomeBoxes(self.BOX, ["", ""]))


class TestHealthBenchmark:
    """The result of `eloss health` as charts."""

    @staticmethod
    def document(texts: list[str]) -> dict:
        row = {"auroc": {"value": 0.9}, "median": 3.0}
        alarm = {"mean_auroc": {"value": 0.8}, "conditions": dict.fromkeys(texts, row)}
        return {
            "bundle": {"name": "light"},
            "data": {"num_frames": 2, "num_objects": 3},
            "harm": {text: {"worst_drop": 20.0, "kind": "dangerous"} for text in texts},
            "protocols": {"as shipped": {"threshold": 4.0, "scores": {"alarm": alarm}}},
            "profiles": {
                "layer_names": NAMES,
                "clean": {"mean": [0.5] * 3, "std": [0.1] * 3},
                "conditions": {text: [0.9, None, 0.5] for text in texts},
            },
        }

    def test_what_the_alarm_misses_is_named_and_red(self):
        picture = render_health_table(self.document(["fog:1", "fog:5", "rain:5"]))
        assert near(picture[:, 560:], LEVEL_COLOURS[2], 30).sum() > 10

    def test_profiles_show_the_highest_severity_of_each_corruption(self):
        one = render_profiles(self.document(["fog:1", "fog:5"]))
        two = render_profiles(self.document(["fog:5", "rain:5"]))
        assert (one.shape[1], two.shape[1]) == (300, 600)
        assert near(one, LEVEL_COLOURS[2], 4).sum() > 500

    @pytest.mark.parametrize("render", [render_health_table, render_profiles])
    def test_no_condition_is_an_error(self, render):
        with pytest.raises(ValueError, match="no conditions"):
            render(self.document([]))
