# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from eloss_perception.core.boxes import Boxes3D
from eloss_perception.errors import DataError
from eloss_perception.kitti import (
    Calibration,
    KittiDataset,
    boxes_to_kitti,
    labelled_boxes,
    write_image_set,
    write_kitti_frame,
)
from eloss_perception.training.average_precision import EvaluationFrame
from eloss_perception.training.evaluation import (
    evaluate_bundle,
    evaluate_detections,
    run_detector,
)

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


class TestEvaluateBundle:
    @pytest.fixture(autouse=True)
    def without_network(self, root, monkeypatch):
        """Put the knowing detector in the place of a network."""
        bundle = SimpleNamespace(class_names=CLASS_NAMES, facts=SimpleNamespace(onnx_sha256="0123"))
        self.asked = []

        def detector(bundle, backend, num_threads, thresholds):
            self.asked.append((backend, num_threads, thresholds.score))
            return KnowingDetector(KittiDataset(root, "val"))

        monkeypatch.setattr("eloss_perception.runtime.bundle.Bundle.load", lambda path: bundle)
        monkeypatch.setattr("eloss_perception.runtime.detector.Detector", detector)

    def test_says_what_it_measured(self, root):
        result = evaluate_bundle(root / "some_bundle", root, "val")
        assert self.asked == [("onnxruntime_cpu", 2, 0.05)]
        assert result.provenance["bundle"] == "some_bundle"
        assert result.provenance["model_sha256"] == "0123"
        assert result.provenance["split"] == "val"
        assert result.provenance["points"] == "camera view"
        assert result.ap["Car"]["bev"]["strict"]["easy"].ap_r40 == pytest.approx(100.0)

    def test_some_frames_only(self, root):
        assert evaluate_bundle(root, root, "val", ids=["000000", "000001"]).num_frames == 2
        with pytest.raises(DataError, match="frames 999999 are not in the split val"):
            evaluate_bundle(root, root, "val", ids=["999999"])


class TestResult:
    def result(self, num_frames=50):
        boxes, types = scene(np.random.default_rng(1))
        labels = boxes_to_kitti(boxes[:1], types[:1], Calibration.synthetic())
        frame = EvaluationFrame(labels, [replace(item, score=0.5) for item in labels])
        return evaluate_detections([frame] * num_frames, latency_ms={"total": {"p50": 12.34}})

    def test_json_is_strict_and_complete(self):
        result = self.result()
        read = json.loads(result.to_json(), parse_constant=pytest.fail)
        assert read["num_frames"] == 50
        assert read["num_labels"] == {"Car": 50}
        assert read["ap"]["Car"]["3d"]["strict"]["easy"]["ap_r40"] == pytest.approx(100.0)
        assert read["ap"]["Car"]["3d"]["loose"]["easy"]["num_objects"] == 50
        assert read["ap"]["Cyclist"]["3d"]["strict"]["easy"]["ap_r40"] is None
        assert read["latency_ms"]["total"]["p50"] == 12.34

    def test_table_states_counts(self):
        table = self.result().table()
        assert "frames: 50" in table
        assert "labelled objects: 50 Car" in table
        assert "detections in view: 50 Car, 0 Pedestrian, 0 Cyclist" in table
        assert "Pedestrian: no objects" in table
        assert "total [ms]: p50 12.3" in table
        (row,) = (line for line in table.splitlines() if line.startswith("Car 3d 0.70"))
        assert row.count("100.00") == 9
        assert row.split()[-3:] == ["50", "50", "50"]
        assert "at most" not in table

    def test_table_warns_of_few_objects(self):
        assert "at most R40 easy 7.5" in self.result(num_frames=4).table()

    def test_no_frames(self):
        result = evaluate_detections([])
        assert "frames: 0" in result.table()
        assert json.loads(result.to_json())["num_labels"] == {}

    def test_a_class_that_kitti_does_not_evaluate(self):
        with pytest.raises(DataError, match="no class Tram"):
            evaluate_detections([], ["Car", "Tram"])


def test_the_shipped_bundle_finds_cars_in_real_frames(kitti_object_root):
    from eloss_perception.errors import BundleError
    from eloss_perception.runtime.bundle import default_bundle_path

    try:
        bundle = default_bundle_path()
    except BundleError as error:
        pytest.skip(str(error))
    result = evaluate_bundle(bundle, kitti_object_root, "train")
    car = result.ap["Car"]["bev"]["loose"]["moderate"]
    assert car.num_objects > 30
    # Far below what the README states: this guards against a broken path, not a weaker network.
    assert car.ap_exact > 20.0
