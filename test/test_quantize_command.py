# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss quantize` and what it stores: a new bundle, its reference moved, or a refusal."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="the network is made with it")
pytest.importorskip("onnx", reason="networks are rewritten with it")

from health_reference_factory import clean_readings, make_reference
from quantization_factory import street, write_small_bundle
from street_factory import write_kitti_root

from eloss_perception.cli import quantize as command
from eloss_perception.errors import BundleError, ConfigError, DataError
from eloss_perception.export.quantization import quantize as run_module
from eloss_perception.export.quantization.acceptance import (
    Comparison,
    Measured,
    compare,
    move_to_quantized,
)
from eloss_perception.export.quantization.quantize import Data, quantize_bundle, refusal_of
from eloss_perception.export.quantization.writer import QuantizationSettings
from eloss_perception.health.readings import check_of
from eloss_perception.runtime.bundle import Bundle

FAST = {"num_scans": 2, "num_pairs": 2, "num_frames": 1}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundles") / "small")


@pytest.fixture
def cheap_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scan:
        def __init__(self, seed: int, *_: object, **__: object) -> None:
            self.points = street(seed)

    monkeypatch.setattr(run_module, "simulate_scan", Scan)
    real = run_module.measure

    def measured(*args: object) -> Measured:  # random weights find nothing
        return replace(real(*args), average_precision={"Car_bev_0.7": 50.0, "Car_3d_0.7": 40.0})

    monkeypatch.setattr(run_module, "measure", measured)


def quantize(bundle: Path, out: Path, **settings) -> run_module.Quantized:
    return quantize_bundle(bundle, out, Data(), QuantizationSettings(**(FAST | settings)), 1)


def test_a_bundle_of_its_own_says_how_it_was_made(
    bundle: Path, tmp_path: Path, cheap_scans: None
) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    result = quantize(bundle, tmp_path / "deep" / "int8")
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["int8"]
    found, source = Bundle.load(tmp_path / "deep" / "int8"), Bundle.load(bundle)
    facts = found.facts.quantization
    assert facts is not None and facts == result.facts
    assert (facts.precision, facts.target, facts.float_layers) == ("int8", "cpu", ())
    assert facts.source_sha256 == source.facts.onnx_sha256 != found.facts.onnx_sha256
    assert found.facts.name == "small_int8_cpu"
    assert (facts.calibration, facts.evaluation) == ("2 simulated scans", "1 simulated frames")
    assert found.onnx_path.stat().st_size < source.onnx_path.stat().st_size
    moved, reference = found.require_health(), source.require_health()
    assert moved.threshold == reference.threshold
    assert moved.source == (
        "made up for tests; recalibrated for int8 by 4 scans read by both networks"
    )
    of_layers = [check_of(name) in ("entropy", "scale") for name in moved.reading_names]
    assert (moved.mean[of_layers] != reference.mean[of_layers]).all()
    others = np.logical_not(of_layers)
    np.testing.assert_array_equal(moved.mean[others], reference.mean[others])
    np.testing.assert_array_equal(moved.std[others], reference.std[others])


def test_a_bundle_without_the_new_facts_still_loads(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "old"
    copy.mkdir()
    for path in bundle.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    facts = yaml.safe_load((copy / "model.yaml").read_text())
    del facts["checksum"]
    facts.pop("quantization", None)
    (copy / "model.yaml").write_text(yaml.safe_dump(facts))
    assert Bundle.load(copy).facts.quantization is None


def test_a_loss_of_accuracy_is_refused_and_leaves_nothing(
    bundle: Path, tmp_path: Path, cheap_scans: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def worse(*args: object) -> Comparison:
        tried.append(args)
        return Comparison({"Car_3d_0.7": (50.0, 49.0)}, 1.0, {"entropy.stage1.conv1": 0.1})

    monkeypatch.setattr(run_module, "compare", worse)
    with pytest.raises(BundleError, match=r"int8 costs 1.00 points of Car's moderate AP"):
        quantize(bundle, tmp_path / "out")
    assert len(tried) == 3  # Everything in integers, then less and less.
    assert list(tmp_path.iterdir()) == []
    result = quantize(bundle, tmp_path / "out", max_ap_drop=1.5)
    assert result.facts.max_ap_drop == 1.5
    assert result.bundle.facts.quantization == result.facts


def test_what_is_refused_says_why_in_one_line() -> None:
    settings = QuantizationSettings()
    fine = Comparison({}, 0.5, {"entropy.a": 0.2, "scale.a": 1.0})
    assert refusal_of(fine, settings) is None
    drifted = refusal_of(replace(fine, drift={"entropy.a": 0.2, "scale.a": 1.3}), settings)
    assert drifted == "int8 shifts scale.a by 1.30 of its calibrated spread, more than 1"
    assert "Car's moderate AP" in str(refusal_of(replace(fine, car_drop=0.51), settings))
    # A network that answers NaN has drifted as far as can be.
    assert refusal_of(replace(fine, drift={"entropy.a": float("nan")}), settings) is not None


def test_drift_is_measured_in_calibrated_spreads(bundle: Path) -> None:
    source = Bundle.load(bundle)
    reference = source.require_health()
    rows = np.array([clean_readings(reference, seed) for seed in range(5)])
    shifted = rows.copy()
    shifted[:, 1] += 0.75 * reference.std[1]
    shifted[:, -1] += 9.0  # A reading of the scan is no reading of the network.
    before = Measured({"Car_3d_0.7": 60.0, "Car_bev_0.7": 70.0}, rows, 10.0)
    after = Measured({"Car_3d_0.7": 58.0, "Car_bev_0.7": 71.0}, shifted, 5.0)
    found = compare(source, before, after)
    assert found.car_drop == pytest.approx(0.5)
    assert found.most_drifted == reference.reading_names[1]
    assert found.largest_drift == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "labelled frames hold no Car of moderate"),
        ({"Pedestrian_3d_0.5": 60.0}, "labelled frames hold no Car of moderate"),
        ({"Car_3d_0.7": 0.0, "Car_bev_0.7": 0.0}, "network finds no Car"),
    ],
)
def test_what_measured_nothing_does_not_pass(bundle: Path, scores: dict, message: str) -> None:
    measured = Measured(scores, np.zeros((2, 1)), 1.0)
    with pytest.raises(DataError, match=message):
        compare(Bundle.load(bundle), measured, measured)
    fine = Comparison({}, float("nan"), {"entropy.a": 0.2})
    assert refusal_of(fine, QuantizationSettings()) is not None


def test_data_is_checked_before_it_is_measured(bundle: Path, tmp_path: Path) -> None:
    root = write_kitti_root(tmp_path / "kitti")
    write_kitti_root(root, 2, "val", first=3)
    data = Data(root)
    assert len(data.frames(1, ("Car",))[0].ids) == 2
    for path in (root / "training/label_2").iterdir():
        path.write_text(path.read_text().replace("Car", "Bus"))
    with pytest.raises(DataError, match=r"'val': no labelled object of the classes Car.*4 Bus"):
        data.frames(1, ("Car", "Pedestrian"))
    assert data.frames(1, ("Pedestrian",))
    (root / "training/velodyne/000004.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"000004\.bin: the scan is empty"):
        quantize_bundle(bundle, tmp_path / "out", data, QuantizationSettings(**FAST), 1)


def test_a_moved_reference_judges_the_quantised_network_as_the_float_one() -> None:
    reference = make_reference()
    rows = np.array([clean_readings(reference, seed, spread=1.0) for seed in range(60)])
    of_layers = np.array([check_of(n) in ("entropy", "scale") for n in reference.reading_names])
    # Quantised: layers read half a spread more, and their spread is 1.2 times as large.
    quantised = np.where(
        of_layers, reference.mean + 1.2 * (rows - reference.mean) + 0.5 * reference.std, rows
    )
    moved = move_to_quantized(reference, rows, quantised, "moved")
    np.testing.assert_allclose(moved.std[of_layers], 1.2 * reference.std[of_layers], rtol=0.02)
    expected = reference.deviations(rows)
    np.testing.assert_allclose(moved.deviations(quantised), expected, atol=0.05)
    assert np.abs(reference.deviations(quantised) - expected).max() > 0.4
    assert moved.source == "made up for tests; moved"
    assert (moved.profiles, moved.threshold) == (reference.profiles, reference.threshold)


def test_what_cannot_be_quantised_is_named(bundle: Path, tmp_path: Path, cheap_scans: None) -> None:
    quantize(bundle, tmp_path / "half", precision="float16", target="tensorrt")
    with pytest.raises(BundleError, match="is quantised already"):
        quantize(tmp_path / "half", tmp_path / "again")
    with pytest.raises(DataError, match=r"half exists"):
        quantize(bundle, tmp_path / "half")


def run(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["quantize", *(str(argument) for argument in argv)])
    return int(args.run(args))


def test_the_command_prints_what_it_cost(
    bundle: Path, tmp_path: Path, cheap_scans: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "trt"
    arguments = ("--scans", 2, "--pairs", 2, "--frames", 1, "--threads", 1, "--max-ap-drop", 90)
    assert run("--bundle", bundle, "--target", "tensorrt", "--out", out, *arguments) == 0
    text = capsys.readouterr().out
    assert "AP R40, moderate [%]" in text and "largest drift" in text
    assert f"bundle: {out}" in text and "no layer but the pillar encoder" in text
    facts = Bundle.load(out).facts.quantization
    assert facts is not None and (facts.target, facts.max_ap_drop) == ("tensorrt", 90.0)


def test_options_that_contradict_each_other_are_refused(bundle: Path) -> None:
    for arguments, message in (
        (("--split", "train"), "go with --data only"),
        (("--precision", "float16", "--target", "cpu"), "slower than float32 on CPUs"),
        (("--target", "tensorrt", "--reduce-range"), "reduce_range belongs to the target cpu"),
        (("--precision", "float16", "--keep-float", "head.*"), "belong to int8"),
    ):
        with pytest.raises(ConfigError, match=message):
            run("--bundle", bundle, *arguments)
