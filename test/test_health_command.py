# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss health` from the command line: a run, its files, a second run, and what it refuses."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from eloss_perception import cli
from eloss_perception.errors import ConfigError
from eloss_perception.evaluation.health.acceptance import judge
from eloss_perception.evaluation.health.collect import Collector
from eloss_perception.evaluation.health.comparison import compare_results
from eloss_perception.evaluation.health.report import load_report
from eloss_perception.evaluation.health.table import format_report

pytest.importorskip("onnx")

from health_reference_factory import make_reference
from tiny_bundle import write_tiny_bundle

from eloss_perception.runtime.bundle import write_reference

LAYERS, STAGES = ("intensity", "count"), (0, 0)


def run(*argv: object) -> int:
    return cli.main(["health", *(str(argument) for argument in argv)])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    path = write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    write_reference(path, make_reference(LAYERS, STAGES), 1.0, 10.0)
    return path


@pytest.fixture(scope="module")
def options(bundle, tmp_path_factory) -> list[object]:
    """A run of a few seconds."""
    cache = tmp_path_factory.mktemp("cache")
    return [
        *("--bundle", bundle, "--cache", cache, "--threads", 1, "--frames", 4),
        *("--corruptions", "fog", "intensity_scale", "stale_scan", "--severities", 1, 5),
        *("--calibration-frames", 10, "--drives", 1, "--drive-frames", 6, "--resamples", 30),
    ]


@pytest.fixture(scope="module")
def result(options, tmp_path_factory) -> Path:
    """The JSON of that run, made once for all tests."""
    path = tmp_path_factory.mktemp("result") / "deep" / "health.json"
    assert run(*options, "--json", path) == 0
    return path


def test_a_run_tells_what_it_did(result) -> None:
    document = load_report(result)
    assert document["data"]["num_frames"] == 4
    assert document["data"]["num_objects"] > 0
    assert set(document["harm"]) == {
        *("clean", "fog:1", "fog:5", "intensity_scale:1", "intensity_scale:5"),
    }
    assert set(document["protocols"]) == {"shipped", "recalibrated"}
    rows = document["protocols"]["shipped"]["scores"]
    assert {"alarm", "alarm_unseen", "entropy", "input_statistics", "num_points"} <= set(rows)
    for row in rows.values():
        assert 0.0 <= row["mean_auroc"]["value"] <= 1.0
    # The tiny network's readings are of the intensity, all but gone at severity 5.
    assert rows["entropy_distance"]["conditions"]["intensity_scale:5"]["auroc"]["value"] == 1.0
    assert "stale_scan:5" in document["sequences"]["shipped"]["conditions"]
    assert set(document["sequences"]["shipped"]["parts"]) == {
        *("without_entropy", "input_statistics", "entropy"),
    }
    assert len(document["profiles"]["layer_names"]) == 2


def test_the_report_states_every_demand(result) -> None:
    document = load_report(result)
    text = format_report(document)
    for words in ("fog", "AUROC", "demands, shipped", "demands, recalibrated", "likely cause"):
        assert words in text
    bars = judge(document, "shipped")
    assert len(bars) == 11
    assert text.count("demands") == 2
    better = copy.deepcopy(document)
    alarm = better["protocols"]["shipped"]["scores"]["alarm"]
    for value, passed in ((0.87, False), (0.88, True)):
        alarm["mean_auroc"]["value"] = value
        assert judge(better, "shipped")[1].passed is passed
    for label, harm in better["harm"].items():
        harm["kind"] = "dangerous" if label == "fog:5" else ""
    row = alarm["conditions"]["fog:5"]
    row["auroc"]["value"], row["fpr_at_95_tpr"]["value"] = 0.97, 0.1
    assert judge(better, "shipped")[0].passed is True
    row["fpr_at_95_tpr"]["value"] = 0.2
    assert judge(better, "shipped")[0].passed is False
    assert "fog:5 0.97 / 20%" in judge(better, "shipped")[0].measured


def test_a_second_run_asks_the_network_nothing(options, result, tmp_path, monkeypatch) -> None:
    def refuse(self, points):
        raise AssertionError("the network was asked again")

    monkeypatch.setattr(Collector, "_read", refuse)
    again, picture, profiles = (tmp_path / name for name in ("again.json", "a.png", "b.png"))
    more = ("--json", again, "--picture", picture, "--profiles", profiles)
    assert run(*options, *more) == 0
    assert again.read_text() == result.read_text()
    assert picture.stat().st_size > 5_000
    assert profiles.stat().st_size > 2_000


def test_equal_networks_do_not_differ(result, capsys) -> None:
    assert run("--compare", result, result) == 0
    assert "paired by frame" in capsys.readouterr().out
    document = load_report(result)
    for difference in compare_results(document, document, "shipped").values():
        assert difference == (0.0, 0.0, 0.0)
    worse = copy.deepcopy(document)
    scored = worse["protocols"]["shipped"]["frame_scores"]["entropy"]["corrupted"]
    for label in scored:
        scored[label] = np.full(4, -1.0).tolist()
    assert compare_results(document, worse, "shipped")["entropy"].value < 0.0
    worse["data"]["frame_ids"] = ["another"]
    with pytest.raises(ConfigError, match="frame_ids"):
        compare_results(document, worse, "shipped")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--corruptions", "hail"], "no corruption hail; valid: fog"),
        (["--severities", "6"], "severities are 1, 2, 3, 4, 5"),
        (["--data", "/nowhere"], "no folder training/"),
        (["--calibrate-split", "train"], "--calibrate-split names a split of --data"),
        (["--sequence", "0001"], "--tracking and --sequence go together"),
        (["--compare", "/nowhere.json", "/nowhere.json"], "cannot read the result"),
    ],
)
def test_errors_say_what_is_wrong(argv, message, bundle, capsys) -> None:
    assert run("--bundle", bundle, *argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_bundle_without_reference_is_sent_to_calibration(tmp_path, capsys) -> None:
    from eloss_perception.runtime.bundle import Bundle, write_facts

    path = write_tiny_bundle(tmp_path / "tiny")
    facts = Bundle.load_uncalibrated(path).facts
    write_facts(path, facts.model_copy(update={"health": None}))
    assert run("--bundle", path) == 2
    assert "eloss calibrate" in capsys.readouterr().err


def test_frames_without_labels_are_refused(bundle, tmp_path, capsys) -> None:
    from eloss_perception.datasets.kitti.calibration import Calibration
    from eloss_perception.datasets.kitti.dataset import write_image_set, write_kitti_frame

    write_kitti_frame(tmp_path, "000000", np.zeros((5, 4)), [], Calibration.synthetic())
    write_image_set(tmp_path, "val", ["000000"])
    assert run("--bundle", bundle, "--data", tmp_path, "--split", "val") == 2
    assert "no car is labelled" in capsys.readouterr().err
    assert run("--bundle", bundle, "--data", tmp_path, "--split", "other") == 2
    assert "there are: val" in capsys.readouterr().err
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"format_version": 99}))
    assert run("--compare", other, other) == 2
    assert "format version" in capsys.readouterr().err
