# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Launch files and RViz configuration: what they name exists; with `launch` they are run."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from eloss_perception.replay.demo.record import DETECTOR
from eloss_perception.replay.drives import (
    GROUND_TRUTH_TOPIC,
    IMAGE_TOPIC,
    LIDAR_FRAME,
    POINTS_TOPIC,
)
from eloss_perception.ros import process
from eloss_perception.ros.node_settings import DetectorNodeSettings

ROOT = Path(__file__).resolve().parents[1]
DETECTOR_LAUNCH = ROOT / "launch" / "detector.launch.py"
REPLAY_LAUNCH = ROOT / "launch" / "replay.launch.py"


def constant(path: Path, name: str) -> Any:
    """Returns a literal that a launch file assigns at its top."""
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return ast.literal_eval(statement.value)
    raise AssertionError(f"{name} not in {path}")


def test_overrides_are_parameters_of_the_node() -> None:
    assert set(constant(DETECTOR_LAUNCH, "OVERRIDES")) <= set(DetectorNodeSettings.model_fields)


def test_replay_hands_on_arguments_that_the_detector_has() -> None:
    text = DETECTOR_LAUNCH.read_text()
    for name in constant(REPLAY_LAUNCH, "DETECTOR_ARGUMENTS"):
        assert f'"{name}"' in text


def test_rviz_shows_what_the_nodes_publish() -> None:
    manager = yaml.safe_load((ROOT / "config" / "eloss.rviz").read_text())["Visualization Manager"]
    topics = {display["Topic"]["Value"] for display in manager["Displays"] if "Topic" in display}
    assert topics == {
        POINTS_TOPIC,
        GROUND_TRUTH_TOPIC,
        IMAGE_TOPIC,
        f"{DETECTOR}/output/markers",
        f"{DETECTOR}/output/entropy_gauge",
    }
    assert manager["Global Options"]["Fixed Frame"] == LIDAR_FRAME


def describe(path: Path) -> Any:
    sources = pytest.importorskip(
        "launch.launch_description_sources", reason="launch is not installed here"
    )
    pytest.importorskip("launch_ros", reason="launch_ros is not installed here")
    return sources.get_launch_description_from_python_launch_file(str(path))


def test_arguments_of_the_launch_files() -> None:
    detector = {argument.name for argument in describe(DETECTOR_LAUNCH).get_launch_arguments()}
    assert {"input_topic", "params_file", "bundle", "sensor", "rviz", "use_sim_time"} <= detector
    description = describe(REPLAY_LAUNCH)
    required = [a.name for a in description.get_launch_arguments() if a.default_value is None]
    assert required == ["bag"]


def test_only_given_arguments_override_the_file() -> None:
    launch = pytest.importorskip("launch", reason="launch is not installed here")
    description = describe(DETECTOR_LAUNCH)
    context = launch.LaunchContext()
    for argument in description.get_launch_arguments():
        argument.visit(context)
    context.launch_configurations["sensor"] = "velodyne"
    (opaque,) = [e for e in description.entities if isinstance(e, launch.actions.OpaqueFunction)]
    (node,) = opaque.visit(context)
    node._perform_substitutions(context)
    _, parameters = node._Node__expanded_parameter_arguments
    text = Path(parameters[0]).read_text() if parameters[1] else str(parameters[0])
    assert "velodyne" in text
    assert "backend" not in text


@pytest.mark.parametrize(
    ("code", "respawn", "is_first", "is_started_again"),
    [
        (0, "true", True, False),  # asked to stop
        (1, "true", True, False),  # cannot be started as it was configured
        (1, "true", False, True),  # could before: a device may need a while to come back
        (0, "true", False, False),
        (70, "true", True, True),
        (75, "true", True, True),
        (-9, "true", True, True),
        (-9, "false", True, False),
    ],
)
def test_what_the_node_is_started_again_after(
    code: int, respawn: str, is_first: bool, is_started_again: bool
) -> None:
    launch = pytest.importorskip("launch", reason="launch is not installed here")
    description = describe(DETECTOR_LAUNCH)
    context = launch.LaunchContext()
    for argument in description.get_launch_arguments():
        argument.visit(context)
    context.launch_configurations["respawn"] = respawn
    (opaque,) = [e for e in description.entities if isinstance(e, launch.actions.OpaqueFunction)]
    make_node = opaque._OpaqueFunction__function
    (node,) = make_node(context, is_first=is_first)
    event = SimpleNamespace(returncode=code)
    actions = node._ExecuteLocal__on_exit(event, context)
    assert bool(actions) == is_started_again
    assert any(isinstance(a, launch.actions.TimerAction) for a in actions) == is_started_again


def test_the_exit_codes_are_the_nodes() -> None:
    assert (ast.unparse(ast.parse("STOPPED, REFUSED = (0, 1)"))) in ast.unparse(
        ast.parse(DETECTOR_LAUNCH.read_text())
    )
    assert process.REFUSED == 1
    assert {process.BUG, process.HANGS}.isdisjoint({0, 1})
