# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from evaluation_factory import car, found

from eloss_perception.datasets.kitti import (
    Calibration,
    KittiDataset,
    boxes_to_kitti,
    labelled_boxes,
    write_image_set,
    write_kitti_frame,
)
from eloss_perception.detection.boxes import Boxes3D
from eloss_perception.detection.pillars import pillarize
from eloss_perception.errors import DataError
from eloss_perception.evaluation import (
    EvaluationFrame,
    EvaluationReport,
    EvaluationSettings,
    evaluate_detections,
    evaluate_splits,
    format_report,
    format_result,
    run_detector,
)
from eloss_perception.evaluation.detectors import load_bundle
from eloss_perception.evaluation.outcomes import frame_outcomes
from eloss_perception.evaluation.report import EvaluationResult

CLASS_NAMES = ("Car", "Pedestrian", "Cyclist")


@dataclass
class Timings:
    preprocess_ms: float
    inference_ms: float
    postprocess_ms: float


def scene(rng):
    """Return boxes and types of a car, a pedestrian and a cyclist in front of the camera."""
    boxes = np.array(
        [
            [15.0, -3.0, -1.0, 4.0, 1.6, 1.5, 0.1],
            [12.0, 2.0, -0.8, 0.6, 0.6, 1.8, 0.0],
            [14.0, 4.5, -0.8, 1.8, 0.6, 1.8, 1.0],
        ]
    )
    boxes[:, :2] += rng.uniform(-0.5, 0.5, 2)
    return boxes, list(CLASS_NAMES)


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    calibration = Calibration.synthetic()
    ids = [f"{number:06d}" for number in range(50)]
    for frame_id in ids:
        boxes, types = scene(rng)
        points = rng.uniform([-40, -40, -2, 0], [40, 40, 1, 1], (200, 4)).astype(np.float32)
        points[:3, :3] = boxes[:, :3]
        objects = boxes_to_kitti(boxes, types, calibration)
        write_kitti_frame(tmp_path, frame_id, points, objects, calibration)
    write_image_set(tmp_path, "val", ids)
    return tmp_path


class KnowingDetector:
    """Finds what the labels hold, in the order in which it is asked."""

    class_names = CLASS_NAMES

    def __init__(self, dataset, score=0.5):
        self.dataset = dataset
        self.ids = iter(dataset.ids)
        self.score = score
        self.num_points = []

    def warm_up(self):
        pass

    def detect(self, points):
        self.num_points.append(len(points))
        frame_id = next(self.ids)
        truth = labelled_boxes(
            self.dataset.objects(frame_id), self.dataset.calibration(frame_id), CLASS_NAMES
        )
        boxes = Boxes3D(truth.boxes, np.full(len(truth), self.score), truth.labels)
        return SimpleNamespace(boxes=boxes, timings=Timings(1.0, 10.0, 2.0))


class TestRunDetector:
    def test_perfect_detections_score_100(self, root):
        dataset = KittiDataset(root, "val")
        done = []
        frames, latency_ms = run_detector(
            KnowingDetector(dataset),
            dataset,
            dataset.ids,
            progress=lambda n, total: done.append((n, total)),
        )
        result = evaluate_detections(frames, CLASS_NAMES, latency_ms)
        assert done[-1] == (50, 50)
        assert result.num_frames == 50
        assert result.num_labels == {"Car": 50, "Pedestrian": 50, "Cyclist": 50}
        assert result.num_detections == result.num_labels
        for name in CLASS_NAMES:
            score = result.ap[name]["3d"]["strict"]["moderate"]
            assert score.num_objects == 50
            assert score.ap_r40 == score.ap_r11 == pytest.approx(100.0)
        assert result.latency_ms["inference"]["p50"] == pytest.approx(10.0)
        assert result.latency_ms["total"]["max"] == pytest.approx(13.0)

    def test_points_are_cropped_to_the_view_on_request(self, root):
        dataset = KittiDataset(root, "val")
        cropping, whole = KnowingDetector(dataset), KnowingDetector(dataset)
        run_detector(cropping, dataset, dataset.ids[:3])
        run_detector(whole, dataset, dataset.ids[:3], camera_view=False)
        assert whole.num_points == [200] * 3
        assert all(0 < number < 100 for number in cropping.num_points)

    def test_detections_out_of_view_are_left_out(self, root):
        dataset = KittiDataset(root, "val")
        behind = Boxes3D(np.array([[-15.0, 0, -1, 4, 1.6, 1.5, 0]]), np.array([0.9]), np.array([0]))
        detector = SimpleNamespace(
            class_names=CLASS_NAMES,
            detect=lambda _: SimpleNamespace(boxes=behind, timings=Timings(1, 1, 1)),
        )
        frames, _ = run_detector(detector, dataset, dataset.ids[:1])
        assert frames[0].detections == []


class TestEvaluateSplits:
    @pytest.fixture
    def halves(self, root):
        ids = KittiDataset(root, "val").ids
        write_image_set(root, "first", ids[:20])
        write_image_set(root, "second", ids[20:])
        return root

    def detector(self, root):
        return KnowingDetector(KittiDataset(root, "val"))

    def test_apart_and_together(self, halves):
        done = []
        report, frames = evaluate_splits(
            self.detector(halves),
            halves,
            ["first", "second"],
            settings=EvaluationSettings(num_resamples=5),
            provenance={"bundle": "mine"},
            progress=lambda n, total: done.append((n, total)),
        )
        assert done == [(n, 50) for n in range(1, 51)]
        assert {split: len(of) for split, of in frames.items()} == {"first": 20, "second": 30}
        assert report.provenance == {
            "bundle": "mine",
            "points": "camera view",
            "view": "camera image of 1242 x 375 px (KITTI's size for this P2)",
        }
        assert [report.splits[s].num_frames for s in ("first", "second")] == [20, 30]
        assert report.joint.num_frames == 50
        assert report.joint.ap["Car"]["3d"]["strict"]["easy"].ap_r40 == pytest.approx(100.0)
        assert report.joint.latency_ms["total"]["p99"] == pytest.approx(13.0)
        table = format_report(report)
        assert table.index("== first\n") < table.index("== second\n")
        assert table.index("== second\n") < table.index("== first + second\n")
        read = json.loads(report.to_json(), parse_constant=pytest.fail)
        assert read["format_version"] == 2
        assert set(read["splits"]) == {"first", "second"}
        assert read["joint"]["num_frames"] == 50

    def test_one_split_has_no_joint_result(self, root):
        report, _ = evaluate_splits(self.detector(root), root, ["val"], camera_view=False)
        assert report.joint is None
        assert report.provenance["points"] == "full scan"
        assert report.splits["val"].settings == EvaluationSettings()
        assert json.loads(report.to_json())["joint"] is None

    def test_no_frame_twice(self, halves):
        for splits in (["val", "first"], ["val", "val"]):
            with pytest.raises(DataError, match="evaluated twice: "):
                evaluate_splits(self.detector(halves), halves, splits)


class TestResult:
    def result(self, num_frames=50, **settings):
        boxes, types = scene(np.random.default_rng(1))
        labels = boxes_to_kitti(boxes[:1], types[:1], Calibration.synthetic())
        frame = EvaluationFrame(labels, [replace(item, score=0.5) for item in labels])
        return evaluate_detections(
            [frame] * num_frames,
            latency_ms={"total": {"p50": 12.34}},
            settings=EvaluationSettings(**settings),
        )

    def test_json_is_strict_and_complete(self):
        report = EvaluationReport({"bundle": "mine"}, {"val": self.result(num_resamples=3)}, None)
        read = json.loads(report.to_json(), parse_constant=pytest.fail)["splits"]["val"]
        assert set(read) == set(EvaluationResult.__dataclass_fields__)
        assert read["num_frames"] == 50
        assert read["num_labels"] == {"Car": 50}
        assert read["ap"]["Car"]["3d"]["strict"]["easy"]["ap_r40"] == pytest.approx(100.0)
        assert read["ap"]["Car"]["3d"]["loose"]["easy"]["num_objects"] == 50
        assert read["ap"]["Cyclist"]["3d"]["strict"]["easy"]["ap_r40"] is None
        interval = read["intervals"]["Car"]["bev"]["strict"]["hard"]["ap_exact"]
        assert interval == pytest.approx([100.0, 100.0])
        assert [item["near"] for item in read["distances"]["Car"]] == [0.0, 20.0, 40.0]
        assert read["box_errors"]["Car"]["mae"]["yaw"] == 0.0
        assert read["curves"]["Car"]["3d"]["strict"] == pytest.approx([100.0] * 40)
        assert read["latency_ms"]["total"]["p50"] == 12.34
        assert read["settings"]["num_resamples"] == 3

    def test_table_states_counts(self):
        table = format_result(self.result())
        assert "frames: 50" in table
        assert "labelled objects: 50 Car" in table
        assert "detections in view: 50 Car, 0 Pedestrian, 0 Cyclist" in table
        assert "Pedestrian: no objects" in table
        assert "total [ms]: p50 12.3" in table
        rows = [line for line in table.splitlines() if line.startswith("Car 3d 0.70")]
        assert len(rows) == 3  # average precision, interval, distances
        assert rows[0].count("100.00") == 9
        assert rows[0].split()[-3:] == ["50", "50", "50"]
        assert rows[1].count("[100.0, 100.0]") == 2
        assert "at most" not in table

    def test_what_the_settings_leave_out_is_left_out(self):
        result = self.result(num_resamples=0, distance_edges=())
        assert result.intervals == result.distances == {}
        table = format_result(result)
        assert "intervals" not in table
        assert "by distance" not in table
        assert "median error" in table
        assert "too narrow" in format_result(self.result(num_resamples=2))
        assert "too narrow" not in format_result(self.result(num_resamples=2, block_length=5))

    def test_without_settings_only_the_benchmark(self):
        boxes, types = scene(np.random.default_rng(1))
        labels = boxes_to_kitti(boxes, types, Calibration.synthetic())
        result = evaluate_detections([EvaluationFrame(labels, [])])
        assert result.intervals == result.distances == result.box_errors == result.curves == {}
        assert "Car 3d 0.70" in format_result(result)

    def test_table_warns_of_few_objects(self):
        assert "at most R40 easy 7.5" in format_result(self.result(num_frames=4))

    def test_no_frames(self):
        result = evaluate_detections([], settings=EvaluationSettings())
        assert "frames: 0" in format_result(result)
        read = json.loads(EvaluationReport({}, {"val": result}, None).to_json())
        assert read["splits"]["val"]["num_labels"] == {}

    def test_a_class_that_kitti_does_not_evaluate(self):
        with pytest.raises(DataError, match="no class Tram, Bus; it evaluates Car, Ped"):
            evaluate_detections([], ["Tram", "Bus"])

    def test_classes_are_evaluated_as_far_as_kitti_does_and_in_any_case(self):
        frames = [
            EvaluationFrame(
                [car(type="CAR"), car(1, type="Tram")],
                [found(car(type="car"), 0.9), found(car(1, type="Tram"), 0.8)],
            )
        ]
        result = evaluate_detections(frames, ["Tram", "car"], settings=EvaluationSettings())
        assert list(result.ap) == ["car"] and result.num_detections == {"car": 1}
        assert result.ap["car"]["3d"]["strict"]["easy"].ap_exact == pytest.approx(100.0)
        assert result.min_overlap == {"car": {"strict": 0.7, "loose": 0.5}}
        outcomes, _ = frame_outcomes(frames, ["car"])
        assert len(outcomes[0].found) == 1 and outcomes[0].num_errors == 0

    def test_without_an_image_3d_boxes_alone_are_judged(self):
        unknown = {"bbox2d": (-1.0, -1.0, -1.0, -1.0)}
        label = car(bbox2d=(0.0, 0.0, 50.0, 50.0))
        hidden = car(1, occlusion=2, **unknown)
        detections = [found(car(**unknown), 0.9), found(car(1, **unknown), 0.8)]
        frames = [EvaluationFrame([label, hidden], detections, has_image=False)]
        result = evaluate_detections(frames, settings=EvaluationSettings())
        assert list(result.ap["Car"]) == ["bev", "3d"]
        scores = result.ap["Car"]["3d"]["strict"]
        assert [scores[level].num_objects for level in scores] == [1, 1, 2]
        assert scores["hard"].ap_exact == pytest.approx(100.0)
        assert "image" not in format_result(result)

    @pytest.mark.parametrize("edges", [(10.0,), (20.0, 10.0), (0.0, 0.0), (-5.0, 10.0)])
    def test_impossible_distances(self, edges):
        with pytest.raises(ValueError, match="ascending"):
            EvaluationSettings(distance_edges=edges)


def test_a_checkpoint_is_evaluated_with_its_averaged_network(tmp_path):
    torch = pytest.importorskip("torch")
    from eloss_perception.network.network import PillarNetwork
    from eloss_perception.training.checkpoints import save_checkpoint
    from eloss_perception.training.settings import TrainingSettings
    from eloss_perception.training.validation import checkpoint_detector

    settings = TrainingSettings()
    grid = settings.grid.build()
    torch.manual_seed(0)
    network = PillarNetwork(settings.network, grid.num_y, grid.num_x).eval()
    state = {"settings": settings.model_dump_json(), "step": 7, "averaged": network.state_dict()}
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    detector, about = checkpoint_detector(tmp_path / "checkpoint.pt", num_threads=1)
    assert about["checkpoint"] == f"{tmp_path.name}/checkpoint.pt"
    assert detector.class_names == CLASS_NAMES
    rng = np.random.default_rng(0)
    points = rng.uniform([1, -30, -2, 0], [60, 30, 1, 1], (2000, 4)).astype(np.float32)
    pillars = pillarize(points, grid)
    with torch.no_grad():
        outputs = network(
            torch.from_numpy(pillars.points),
            torch.from_numpy(pillars.features),
            torch.from_numpy(pillars.cell_to_pillar)[None],
        )
    found = detector.detect(points)
    entropy = outputs[2][0].numpy()
    assert found.readings[: len(entropy)] == pytest.approx(entropy, abs=1e-5)
    assert found.timings.inference_ms > 0.0


def test_the_shipped_bundle_finds_cars_in_real_frames(kitti_object_root):
    from eloss_perception.errors import BundleError
    from eloss_perception.runtime.bundle import default_bundle_path

    try:
        path = default_bundle_path()
    except BundleError as error:
        pytest.skip(str(error))
    detector, about = load_bundle(path)
    report, _ = evaluate_splits(detector, kitti_object_root, ["train"], provenance=about)
    assert len(report.provenance["model_sha256"]) == 64
    car = report.splits["train"].ap["Car"]["bev"]["loose"]["moderate"]
    assert car.num_objects > 30
    # Far below what the README states: this guards against a broken path, not a weaker network.
    assert car.ap_exact > 20.0
