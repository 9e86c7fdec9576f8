# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Who imports whom: the sources against the dependency table, with a fresh interpreter as judge."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "eloss_perception"

# What every part may import.
OPEN_TO_ALL = {"errors", "files", "interrupts"}

# Room of the package -> the rooms it may import besides itself.
INTERNAL = {
    "errors": set(),
    "files": set(),
    "interrupts": set(),
    "moved": set(),
    "detection": set(),
    "health": {"detection"},
    "runtime": {"detection", "health"},
    "ros": {"detection", "health", "msg", "runtime"},
    "datasets": {"detection"},
    "simulation": {"datasets", "detection"},
    "network": {"detection", "health"},
    "evaluation": {"datasets", "detection", "health", "runtime", "simulation"},
    "calibration": {"datasets", "detection", "evaluation", "health", "runtime", "simulation"},
    "training": {"datasets", "detection", "evaluation", "network", "runtime", "simulation"},
    "export": {
        *("datasets", "detection", "evaluation", "health", "network", "runtime", "simulation"),
        "training",
    },
    "plots": {"detection", "health"},
    "replay": {
        *("datasets", "detection", "health", "msg", "plots", "ros", "runtime", "simulation"),
    },
    # The command line reaches everything, each command importing what it needs when it runs.
    "cli": {
        *("calibration", "datasets", "detection", "evaluation", "export", "health", "network"),
        *("plots", "replay", "ros", "runtime", "simulation", "training"),
    },
}

# Room -> the packages from elsewhere it may import besides the standard library.
EXTERNAL = {
    "errors": set(),
    "files": set(),
    "interrupts": set(),
    "moved": set(),
    "detection": {"numba", "numpy", "pydantic"},
    "health": {"numpy", "pydantic"},
    "runtime": {"cuda", "numpy", "onnxruntime", "openvino", "pydantic", "tensorrt", "yaml"},
    "ros": {
        *("annotated_types", "builtin_interfaces", "diagnostic_msgs", "geometry_msgs"),
        *("lifecycle_msgs", "numpy", "pydantic", "rcl_interfaces", "rclpy", "sensor_msgs"),
        *("sensor_msgs_py", "std_msgs", "vision_msgs", "visualization_msgs"),
    },
    "datasets": {"PIL", "backports", "compression", "lz4", "numpy", "rosbags", "yaml"},
    "simulation": {"numpy", "pydantic", "yaml"},
    "network": {"numpy", "pydantic", "torch"},
    "evaluation": {"numpy", "pydantic", "yaml"},
    "calibration": {"numpy", "onnx"},
    "training": {"numpy", "pydantic", "tensorboard", "torch", "tqdm", "yaml"},
    "export": {"numpy", "onnx", "onnx_ir", "onnxruntime", "pydantic", "torch", "yaml"},
    "plots": {"PIL", "matplotlib", "numpy"},
    "replay": {
        *("PIL", "lifecycle_msgs", "numpy", "rclpy", "rosbags", "rosgraph_msgs", "std_srvs"),
    },
    "cli": {"PIL", "benchmarks", "numpy", "pydantic", "rich", "yaml"},
}

# What the vehicle's node must do without.
NOT_ONBOARD = INTERNAL.keys() - {
    *("detection", "errors", "files", "health", "interrupts", "moved", "ros", "runtime"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path: Path) -> set[str]:
    """Returns every module that a file imports, at its top or inside a function."""
    package = path.relative_to(ROOT).parent.parts
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # `from a import b` imports a.b where that is a module, and a in any case.
            found |= {f"{source}.{alias.name}" for alias in node.names}
    return {name for name in found if name != "__future__"}


def part_of(module: str) -> str:
    """Returns `detection` for eloss_perception.detection.boxes, and "" for the package itself."""
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("name", [name for name in MODULES if part_of(name)])
def test_imports_only_what_the_table_allows(name: str) -> None:
    part = part_of(name)
    assert part in INTERNAL, f"{part} is not in the table: say here what it may import"
    imports = imports_of(MODULES[name])
    own = {part_of(module) for module in imports if module.split(".")[0] == PACKAGE.name}
    # Names of the top package, such as __version__, are open to all.
    own = {target for target in own if target in INTERNAL or target == "msg"}
    assert own <= INTERNAL[part] | {part} | OPEN_TO_ALL
    others = {module.split(".")[0] for module in imports} - {PACKAGE.name}
    assert others - sys.stdlib_module_names <= EXTERNAL[part]


def test_there_is_no_circle_between_files() -> None:
    graph = {}
    for name, path in MODULES.items():
        imports = imports_of(path)
        targets = {i if i in MODULES else i.rpartition(".")[0] for i in imports}
        graph[name] = (targets & MODULES.keys()) - {name, PACKAGE.name}
    assert list(TopologicalSorter(graph).static_order())


def test_there_is_no_circle_between_rooms() -> None:
    assert list(TopologicalSorter(INTERNAL).static_order())


def test_only_the_decorator_that_chooses_a_folder_for_machine_code_imports_numba() -> None:
    users = [name for name, path in MODULES.items() if "numba" in imports_of(path)]
    assert users == ["eloss_perception.detection.compiled"]


def test_every_part_in_the_table_exists() -> None:
    parts = {part_of(name) for name in MODULES} - {""}
    assert parts == set(INTERNAL) == set(EXTERNAL)


def test_the_node_reaches_nothing_that_stays_at_home() -> None:
    waiting, seen = ["eloss_perception.ros.node"], set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for imported in imports_of(MODULES[name]):
            module = imported if imported in MODULES else imported.rpartition(".")[0]
            if module in MODULES and module not in seen:
                waiting.append(module)
    assert len(seen) > 5, "the walk did not follow the imports"
    assert not {part_of(name) for name in seen} & NOT_ONBOARD


def test_the_runtime_loads_neither_torch_nor_ros() -> None:
    code = (
        "import sys, eloss_perception.runtime.detector\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert "eloss_perception" in loaded
    assert not loaded & {"torch", "rclpy", "onnx", "matplotlib", "PIL", "rich", "rosbags"}
    assert not {name for name in loaded if name.endswith("_msgs")}


@pytest.mark.parametrize("entry", ["eloss_perception.cli", "eloss_perception.ros.process"])
def test_what_is_started_sets_numpys_threads_before_it_is_loaded(entry: str) -> None:
    # Once numpy is loaded, its own threads spin on the cores of the network's.
    code = f"import sys, {entry}; print('numpy' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
