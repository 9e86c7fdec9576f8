# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Layouts for PlotJuggler and Foxglove: well formed, and all that they show is published."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from eloss_perception.health.readings import checks_of, reading_names
from eloss_perception.replay.demo.record import DETECTOR, HEALTH_TOPIC, TIME_TOPIC
from eloss_perception.replay.drives import GROUND_TRUTH_TOPIC, LIDAR_FRAME, POINTS_TOPIC

ROOT = Path(__file__).resolve().parents[1]
PLOTJUGGLER = ROOT / "config" / "plotjuggler_health.xml"
FOXGLOVE = ROOT / "config" / "foxglove_health.json"
MESSAGES = {HEALTH_TOPIC: "EntropyHealth", TIME_TOPIC: "ProcessingTime"}
MARKERS = {f"{DETECTOR}/output/{name}" for name in ("markers", "entropy_gauge")}
BUNDLE = yaml.safe_load((ROOT / "models" / "pillars_light" / "model.yaml").read_text())
LAYERS = BUNDLE["layer_names"]
CHECKS = checks_of(reading_names(LAYERS))
# (field, what an element of it stands for)
ELEMENTS = {"check_ratio": CHECKS, "layer_entropy": LAYERS}


def fields_of(message: str) -> dict[str, str]:
    """Type by name of the fields of a message, from its definition: needs no ROS."""
    text = (ROOT / "msg" / f"{message}.msg").read_text()
    return {name: kind for kind, name in re.findall(r"^(\S+) (\w+) +#", text, re.M)}


def assert_is_a_number(topic: str, path: str) -> None:
    """Fails unless a message of the topic has this number, such as ``check_ratio[3]``."""
    match = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", path)
    assert match, path
    name, index = match.groups()
    kind = fields_of(MESSAGES[topic])[name]
    assert re.fullmatch(r"(byte|u?int\d+|float\d+)(\[\])?", kind), f"{path} is a {kind}"
    assert kind.endswith("[]") == (index is not None), path
    if index is not None:
        assert int(index) < len(ELEMENTS[name]), path


# ------------------------------------------------------------------------------- PlotJuggler


def areas() -> dict[str, list[str]]:
    """Curves by the title of their plot."""
    return {
        str(area.get("name")): [str(curve.get("name")) for curve in area.iter("curve")]
        for area in ET.parse(PLOTJUGGLER).iter("DockArea")
    }


def test_every_curve_is_a_number_of_the_health_message() -> None:
    curves = [curve for curves in areas().values() for curve in curves]
    assert len(curves) == len(set(curves))
    for curve in curves:
        topic, _, path = curve.rpartition("/")
        assert topic == HEALTH_TOPIC
        assert_is_a_number(topic, path)
    shown = {curve.rpartition("/")[2] for curve in curves}
    assert {"score", "smoothed_score", "threshold", "level"} <= shown
    assert {f"check_ratio[{i}]" for i in range(len(CHECKS))} <= shown
    assert {f"layer_entropy[{i}]" for i in range(len(LAYERS))} <= shown


def test_the_plot_of_the_checks_names_them_by_their_index() -> None:
    (title,) = (title for title, curves in areas().items() if "check_ratio[0]" in str(curves))
    assert dict(re.findall(r"(\d+) (\w+)", title)) == {
        str(index): name for index, name in enumerate(CHECKS)
    }


def test_plotjuggler_streams_what_it_shows() -> None:
    root = ET.parse(PLOTJUGGLER).getroot()
    streamer = root.find("previouslyLoaded_Streamer")
    assert streamer is not None
    plugin = root.find(f"Plugins/plugin[@ID='{streamer.get('name')}']")
    assert plugin is not None
    topics = plugin.find("selected_topics")
    assert topics is not None
    assert str(topics.get("value")).split(";") == [HEALTH_TOPIC]
    for splitter in root.iter("DockSplitter"):
        shares = [float(share) for share in str(splitter.get("sizes")).split(";")]
        assert len(shares) == len(splitter) == int(str(splitter.get("count")))
        assert sum(shares) == pytest.approx(1.0)
    for tab in root.iter("Tab"):
        assert len(tab) == int(str(tab.get("containers")))


# ---------------------------------------------------------------------------------- Foxglove


@pytest.fixture(scope="module")
def foxglove() -> dict[str, Any]:
    layout: dict[str, Any] = json.loads(FOXGLOVE.read_text())
    return layout


def panels_in(node: Any) -> Iterator[str]:
    """Panels of a tree of splits, in their order."""
    if isinstance(node, str):
        yield node
        return
    assert set(node) == {"direction", "splitPercentage", "first", "second"}
    assert node["direction"] in ("row", "column")
    assert 0 < node["splitPercentage"] < 100
    yield from panels_in(node["first"])
    yield from panels_in(node["second"])


def test_the_layout_places_every_panel_once(foxglove: dict[str, Any]) -> None:
    assert {"configById", "globalVariables", "userNodes", "playbackConfig", "layout"} == set(
        foxglove
    )
    placed = list(panels_in(foxglove["layout"]))
    assert sorted(placed) == sorted(foxglove["configById"])
    assert all(re.fullmatch(r"\w+!\w+", panel) for panel in placed)


def test_every_path_is_a_field_of_its_message(foxglove: dict[str, Any]) -> None:
    shown = set()
    for name, panel in foxglove["configById"].items():
        for path in [entry["value"] for entry in panel.get("paths", [])]:
            topic, _, field = path.partition(".")
            assert_is_a_number(topic, field)
            shown.add(field)
        single = panel.get("path") or panel.get("topicPath")
        if single:
            topic, _, field = single.partition(".")
            assert field in fields_of(MESSAGES[topic]), name
            shown.add(field)
    assert {"score", "smoothed_score", "threshold", "level", "reason", "likely_cause"} <= shown


def test_foxglove_labels_each_check_by_its_name(foxglove: dict[str, Any]) -> None:
    labels = {
        entry["value"].partition(".")[2]: entry["label"]
        for entry in foxglove["configById"]["Plot!checks"]["paths"]
    }
    assert labels == {f"check_ratio[{index}]": name for index, name in enumerate(CHECKS)}


def test_the_indicator_has_a_rule_for_each_level(foxglove: dict[str, Any]) -> None:
    text = (ROOT / "msg" / "EntropyHealth.msg").read_text()
    levels = {value: name for name, value in re.findall(r"^byte (\w+)=(\d)", text, re.M)}
    rules = foxglove["configById"]["Indicator!level"]["rules"]
    assert {rule["rawValue"]: rule["label"] for rule in rules} == levels


def test_the_scene_shows_scan_boxes_and_gauge(foxglove: dict[str, Any]) -> None:
    scene = foxglove["configById"]["3D!scene"]
    assert set(scene["topics"]) == {POINTS_TOPIC, GROUND_TRUTH_TOPIC, *MARKERS}
    assert scene["followTf"] == LIDAR_FRAME
    assert foxglove["configById"]["DiagnosticSummary!node"]["topicToRender"] == "/diagnostics"
