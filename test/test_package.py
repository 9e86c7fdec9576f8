# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the package says about itself agrees everywhere, and what it installs is complete."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import eloss_perception

ROOT = Path(__file__).resolve().parents[1]
HEADER = (
    "# SPDX-FileCopyrightText: 2026 The eloss_perception authors",
    "# SPDX-License-Identifier: Apache-2.0",
)
# What ends up in nobody's commit, should git not be there to say so.
MADE_HERE = {"build", "install", "log", "demo_output", "runs", "__pycache__"}


def source_files() -> list[Path]:
    """Returns the files that belong to the package: what git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        files = [ROOT / line for line in listing.stdout.splitlines()]
    except (OSError, subprocess.CalledProcessError):
        files = [
            path
            for path in ROOT.rglob("*")
            if not any(
                part.startswith(".venv") or part == ".git" or part in MADE_HERE
                for part in path.relative_to(ROOT).parts
            )
        ]
    return [path for path in files if path.is_file()]


def package_xml() -> ET.Element:
    return ET.parse(ROOT / "package.xml").getroot()


def test_versions_agree() -> None:
    version = eloss_perception.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert package_xml().findtext("version") == version
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d{2}-\d{2}$", changelog, re.MULTILINE)
    assert releases[0] == version
    command = [sys.executable, "setup.py", "--version"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split()[-1] == version


def requirement_lines(name: str) -> list[str]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pinned_versions(python: str) -> dict[str, set[str]]:
    """Returns the versions that the lock files name for each package for one Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.1"}
    versions: dict[str, set[str]] = {}
    # torch-cpu.lock is what torch-cuda.lock is without CUDA: one of them is installed.
    for name in ("installer", "onboard", "ros", "test", "torch-cuda"):
        for line in requirement_lines(f"{name}.lock"):
            requirement = Requirement(line.split(" --hash=")[0])
            if requirement.marker is None or requirement.marker.evaluate(environment):
                (specifier,) = requirement.specifier
                versions.setdefault(canonicalize_name(requirement.name), set()).add(
                    specifier.version
                )
    return versions


@pytest.mark.parametrize(
    "path", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda p: p.stem
)
def test_every_locked_package_has_one_version_and_hashes(path: Path) -> None:
    lines = requirement_lines(path.name)
    assert lines
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[^ ;]+( ; [^#]*?)?( --hash=sha256:[0-9a-f]{64})+", line)


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12"])
def test_the_locks_hold_what_is_asked_for(python: str) -> None:
    pinned = pinned_versions(python)
    assert not {name: found for name, found in pinned.items() if len(found) != 1}
    for path in (ROOT / "requirements").glob("*.in"):
        for line in requirement_lines(path.name):
            requirement = Requirement(line)
            (version,) = pinned[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{path.name}: {line}, locked {version}"


def test_the_locks_hold_what_their_packages_need() -> None:
    """They are installed without looking for dependencies, so nothing may be missing from them."""
    pinned = pinned_versions(f"{sys.version_info.major}.{sys.version_info.minor}")
    for name, versions in pinned.items():
        try:
            installed = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if installed.version not in versions:
            continue  # beside a sourced ROS 2, which has versions of its own
        for line in installed.requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                (version,) = pinned.get(canonicalize_name(needed.name), {None})
                assert version is not None, f"{name} needs {line}"
                assert needed.specifier.contains(version, prereleases=True), f"{name} needs {line}"


def test_pytorch_without_cuda_is_the_pytorch_of_the_lock() -> None:
    (cpu,) = requirement_lines("torch-cpu.lock")
    assert f"{cpu.split('+')[0]} " in "\n".join(requirement_lines("torch-cuda.lock"))


def test_package_xml_declares_what_the_sources_import() -> None:
    declared = {
        element.text for element in package_xml() if element.tag in ("depend", "exec_depend")
    }
    imported: set[str] = set()
    for path in (ROOT / "eloss_perception" / "ros").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        imports = r"^\s*(?:from|import) (\w+_msgs|\w+_srvs|rclpy|sensor_msgs_py)\b"
        imported |= set(re.findall(imports, text, re.MULTILINE))
    assert imported
    assert imported <= declared


def test_licence_is_the_same_everywhere() -> None:
    assert package_xml().findtext("license") == "Apache-2.0"
    assert 'license="Apache-2.0"' in (ROOT / "setup.py").read_text(encoding="utf-8")
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_every_source_file_has_the_spdx_header() -> None:
    scripts = {".ci/run", "run", *(f"scripts/{path.name}" for path in (ROOT / "scripts").iterdir())}
    missing = []
    for path in source_files():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py" or path.name == "CMakeLists.txt" or name in scripts:
            lines = path.read_text(encoding="utf-8").splitlines()
            start = 1 if lines and lines[0].startswith("#!") else 0
            if tuple(lines[start : start + 2]) != HEADER:
                missing.append(name)
    assert not missing


def test_no_file_names_the_machine_it_was_made_on() -> None:
    # Put together here, so that this file does not find itself.
    telltale = re.compile("|".join("/" + place for place in ("work/", "root/", r"home/\w")))
    found = []
    for path in source_files():
        # Binary files too: an exported network can carry the paths of what exported it.
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in telltale.finditer(text)]
    assert not found


def test_every_message_field_says_what_it_is() -> None:
    for path in sorted((ROOT / "msg").glob("*.msg")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                assert re.search(r"\S\s+# \S", line), f"{path.name}: {line}"
                if line.startswith(("float32", "uint")):
                    assert re.search(r"# .*\[.+\]", line), f"{path.name}: no unit: {line}"


def test_colcon_leaves_our_interface_packages_alone() -> None:
    for folder in (ROOT / "interfaces").iterdir():
        assert (folder / "COLCON_IGNORE").exists()


# Of the packages that apt installs: vision_msgs 4.1.1 and tf2_msgs of Iron and later.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "vision_msgs/msg/Detection3DArray",
            "RIHS01_793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018",
        ),
        (
            "tf2_msgs/msg/TFMessage",
            "RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
        ),
    ],
)
def test_our_definitions_are_the_real_types(name: str, expected: str) -> None:
    pytest.importorskip("rclpy")
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    candidates = [Path(prefix, "share", f"{name}.json") for prefix in prefixes if prefix]
    files = [path for path in candidates if path.exists()]
    if not files:
        pytest.skip("no type description is installed: ROS 2 before Iron has no type hashes")
    hashes = json.loads(files[0].read_text(encoding="utf-8"))["type_hashes"]
    by_name = {entry["type_name"]: entry["hash_string"] for entry in hashes}
    assert by_name[name] == expected


def test_messages_can_be_imported_from_the_checkout() -> None:
    pytest.importorskip("rclpy")
    from eloss_perception.msg import EntropyHealth, ProcessingTime

    assert Path(eloss_perception.__file__ or "").parent == ROOT / "eloss_perception"
    levels = EntropyHealth.OK, EntropyHealth.WARN, EntropyHealth.ERROR, EntropyHealth.STALE
    assert levels == (b"\x00", b"\x01", b"\x02", b"\x03")
    assert ProcessingTime().num_frames_dropped == 0


def test_onnx_runtime_sends_nothing_home(tmp_path: Path) -> None:
    """Where its telemetry is on, a session leaves a database of events in the user's cache."""
    code = (
        "from eloss_perception.runtime.bundle import Bundle, default_bundle_path\n"
        "from eloss_perception.runtime.detector import Detector\n"
        "Detector(Bundle.load(default_bundle_path())).close()\n"
    )
    # Continuous integration switches it off as well, and must not hide that we do.
    hiding = {"CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in hiding}
    environment["HOME"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=300)
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name.lower()]
