# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss calibrate` with a KITTI root or a bag: what it reads, prints, writes and refuses."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the tiny bundle is written with it")
pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("rosbags", reason="reads the bags")

from calibration_factory import drive_scan, standing_scan, write_bag, write_bundle
from street_factory import write_kitti_root

from eloss_perception import cli
from eloss_perception.cli.calibrate_sources import bag_clouds
from eloss_perception.cli.parsing import add_sensor_arguments, sensor_from_arguments
from eloss_perception.detection.sensors import SENSORS, SensorModel
from eloss_perception.errors import ConfigError, DataError
from eloss_perception.runtime.bundle import Bundle

SENSOR = SENSORS["kitti_hdl64"]
WHOLE = (0.0, None)


def run(*argv: object) -> int:
    return cli.main(["calibrate", *(str(argument) for argument in argv)])


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scans = [drive_scan(index) for index in range(60)]
    return write_bag(tmp_path_factory.mktemp("bags") / "drive", scans)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_bag_calibrates_a_copy(bundle: Path, bag: Path, tmp_path: Path, capsys) -> None:
    before, out = contents(bundle), tmp_path / "deep" / "copy"
    assert run("--bundle", bundle, "--bag", bag, "--out", out, "--clouds", 40) == 0
    text = capsys.readouterr().out
    assert contents(bundle) == before
    assert [p.name for p in out.parent.iterdir()] == ["copy"]
    health = Bundle.load(out).facts.health
    assert health is not None and health.num_frames == 40
    assert (health.false_alarms_per_hour, health.rate_hz) == (1.0, 2.0)
    assert health.source.startswith("40 clouds of /points over 30 s of the bag drive;")
    assert "40 clean frames" in text and "1 false alarms an hour at 2 Hz" in text
    assert "ground" in text and "change [std]" in text
    assert str(tmp_path) not in (out / "model.yaml").read_text()


def test_a_kitti_root_calibrates_in_place(bundle: Path, tmp_path: Path, capsys) -> None:
    root = write_kitti_root(tmp_path / "kitti", 20, "train")
    write_kitti_root(root, 20, "val", first=20)
    argv = ["--bundle", bundle, "--data", root, "--split", "train", "val", "--rate", 20]
    assert run(*argv, "--false-alarms-per-hour", 0.5) == 0
    health = Bundle.load(bundle).facts.health
    assert health is not None and health.num_frames == 40 and health.rate_hz == 20.0
    assert "40 scans of train, val in KITTI's layout" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--bag", "nowhere"], "nowhere"),
        (["--topic", "/points"], "--topic goes with --bag only"),
        (["--data", "x", "--mounting-height", "2"], "--mounting-height goes with --bag only"),
        (["--bag", "x", "--split", "val"], "--split goes with --data only"),
        (["--bag", "x", "--scans", "50"], "--scans goes with the simulation only"),
        (["--scans", "20"], "20 scans are too few"),
        (["--bag", "x", "--out", "."], ". exists"),
    ],
)
def test_wrong_input_is_one_line(
    bundle: Path, argv: list[str], message: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(bundle)
    assert run("--bundle", bundle, *argv) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert contents(bundle) == before


def test_a_bag_that_is_refused_leaves_no_copy(bundle: Path, tmp_path: Path, capsys) -> None:
    bag = write_bag(tmp_path / "standing", [standing_scan(i) for i in range(35)])
    assert run("--bundle", bundle, "--bag", bag, "--out", tmp_path / "copy") == 2
    assert "hardly moved" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "standing"]


def test_clouds_are_spread_over_the_recording(bag: Path) -> None:
    clouds = bag_clouds(bag, None, SENSOR, WHOLE, 30)
    assert (clouds.labels[0], clouds.labels[-1], len(clouds.labels)) == ("0.0 s", "29.5 s", 30)
    assert clouds.rate_hz == 2.0 and clouds.frames_apart_s == pytest.approx(29.5 / 29)
    scans = list(clouds.scans)
    np.testing.assert_array_equal(scans[0], drive_scan(0))
    np.testing.assert_array_equal(scans[-1], drive_scan(59))
    part = bag_clouds(bag, "/points", SENSOR, (5.0, 21.0), 300)
    assert (part.labels[0], part.labels[-1], len(part.labels)) == ("5.0 s", "21.0 s", 33)
    np.testing.assert_array_equal(next(iter(part.scans)), drive_scan(10))


def test_too_few_clouds_are_refused_before_they_are_read(bag: Path) -> None:
    with pytest.raises(
        DataError, match=r"21 clouds of /points between 0 s and 10\.0 s are too few"
    ):
        bag_clouds(bag, None, SENSOR, (0.0, 10.0), 300)


def test_the_topic_has_to_be_plain(bag: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no point clouds on /clock; it holds /points"):
        bag_clouds(bag, "/clock", SENSOR, WHOLE, 300)
    two = write_bag(tmp_path / "two", [drive_scan(0)], ("/front", "/rear"))
    with pytest.raises(DataError, match="--topic: /front, /rear"):
        bag_clouds(two, None, SENSOR, WHOLE, 300)
    none = write_bag(tmp_path / "none", [drive_scan(0)], ())
    with pytest.raises(DataError, match=r"holds no point cloud .*its topics: /clock"):
        bag_clouds(none, None, SENSOR, WHOLE, 300)


def test_a_broken_cloud_is_named(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [drive_scan(i) for i in range(30)], point_step=3)
    with pytest.raises(DataError, match=r"cloud of /points at 0\.0 s cannot be read: field 'x'"):
        list(bag_clouds(bag, None, SENSOR, WHOLE, 300).scans)


def test_a_scale_that_saturates_the_intensities_is_refused(tmp_path: Path) -> None:
    scans = [drive_scan(i) * np.float32([1, 1, 1, 255]) for i in range(30)]
    bag = write_bag(tmp_path / "bag", scans)
    with pytest.raises(
        DataError,
        match=r"intensity is saturated: check sensor, intensity_field and intensity_scale",
    ):
        list(bag_clouds(bag, None, SENSOR, WHOLE, 300).scans)
    right = bag_clouds(bag, None, SENSORS["velodyne"], WHOLE, 300)
    np.testing.assert_allclose(next(iter(right.scans)), drive_scan(0), rtol=1e-5)


def test_the_mounting_is_that_of_the_nodes_parameters() -> None:
    def parse(*argv: str) -> SensorModel:
        parser = argparse.ArgumentParser()
        add_sensor_arguments(parser, "velodyne")
        return sensor_from_arguments(parser.parse_args(argv), "velodyne")

    sensor = parse(
        *("--sensor", "nuscenes_hdl32e", "--mounting-height", "2.1", "--mounting-yaw", "10"),
        *("--intensity-field", "signal", "--intensity-scale", "9"),
    )
    assert sensor.mounting_height == 2.1
    assert sensor.forward_yaw == pytest.approx(math.pi / 2 + math.radians(10.0))
    assert (sensor.intensity_fields, sensor.scale_of("signal")) == (("signal",), 9.0)
    assert parse("--mounting-height", "0").mounting_height == 0.0
    assert parse() == parse("--intensity-field", "auto") == SENSORS["velodyne"]
    assert parse("--intensity-field", "none").intensity_fields == ()
    with pytest.raises(ConfigError, match="abacus"):
        parse("--sensor", "abacus")


def test_a_wrong_mounting_height_is_noted(bundle: Path, bag: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "copy"
    argv = ["--bundle", bundle, "--bag", bag, "--out", out]
    assert run(*argv, "--mounting-height", 2.2) == 0
    assert "note: the ground lies at z = -1.26 m" in capsys.readouterr().out
