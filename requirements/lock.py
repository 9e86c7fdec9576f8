# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes onboard.lock, ros.lock and test.lock: exact versions for every Python that ./run supports.

    python requirements/lock.py python3.10 python3.11 python3.12

Each argument is an interpreter; pip resolves all three .in files together with each, and what
differs between them gets an environment marker.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# A package is written to the first of these whose .in file needs it.
NAMES = ("onboard", "ros", "test")
# What PyTorch's CUDA build needs: pip adds it where that build is the one it finds. Of these, what
# an .in file names is written without a version, because that build has its own of them.
LEFT_TO_TORCH = re.compile(r"cuda-|nvidia-|triton$")
REQUIREMENT_NAME = re.compile(r"[A-Za-z0-9._-]+")


def _normalize(requirement: str) -> str:
    match = REQUIREMENT_NAME.match(requirement)
    if match is None:
        raise ValueError(f"not a requirement: {requirement!r}")
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def _asked_for(name: str) -> list[str]:
    lines = (FOLDER / f"{name}.in").read_text(encoding="utf-8").splitlines()
    return [_normalize(line) for line in lines if line and not line.startswith("#")]


class Resolution:
    """What pip chooses for one interpreter: a version and the requirements of every package."""

    def __init__(self, interpreter: str) -> None:
        version = "import sys; print('%d.%d' % sys.version_info[:2])"
        self.python = subprocess.check_output([interpreter, "-c", version], text=True).strip()
        self.versions: dict[str, str] = {}
        self.requires: dict[str, set[str]] = {}
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.json")
            subprocess.check_call([interpreter, "-m", "venv", f"{folder}/venv"])
            pip = [f"{folder}/venv/bin/python", "-m", "pip", "install", "--quiet", "--dry-run"]
            files = [part for name in NAMES for part in ("-r", str(FOLDER / f"{name}.in"))]
            subprocess.check_call([*pip, "--ignore-installed", "--report", str(report), *files])
            installs = json.loads(report.read_text(encoding="utf-8"))["install"]
        for metadata in (install["metadata"] for install in installs):
            name = _normalize(metadata["name"])
            # Without the local part: 2.13.0+cpu is 2.13.0 of another index.
            self.versions[name] = metadata["version"].split("+")[0]
            required = metadata.get("requires_dist", [])
            self.requires[name] = {_normalize(line) for line in required if "extra ==" not in line}

    def needed_by(self, name: str) -> set[str]:
        """Returns the packages that NAME.in asks for and everything that those need."""
        waiting = _asked_for(name)
        needed: set[str] = set()
        while waiting:
            package = waiting.pop()
            if package in self.versions and package not in needed:
                needed.add(package)
                waiting += self.requires[package]
        asked_for = _asked_for(name)
        return {p for p in needed if p in asked_for or not LEFT_TO_TORCH.match(p)}


def _pins(package: str, resolutions: list[Resolution], chosen: list[set[str]]) -> list[str]:
    if LEFT_TO_TORCH.match(package):
        return [package]
    pythons: dict[str, list[str]] = {}
    for resolution, packages in zip(resolutions, chosen, strict=True):
        if package in packages:
            pythons.setdefault(resolution.versions[package], []).append(resolution.python)
    lines = []
    for version, names in sorted(pythons.items()):
        marker = " or ".join(f'python_version == "{name}"' for name in names)
        lines.append(f"{package}=={version}" + (f" ; {marker}" if len(names) < len(chosen) else ""))
    return lines


def main() -> None:
    """Resolves with each interpreter named on the command line and writes the lock files."""
    resolutions = sorted(
        (Resolution(interpreter) for interpreter in sys.argv[1:]),
        key=lambda resolution: int(resolution.python.split(".")[1]),
    )
    pythons = ", ".join(resolution.python for resolution in resolutions)
    written: list[set[str]] = [set() for _ in resolutions]
    for name in NAMES:
        chosen = [
            resolution.needed_by(name) - done
            for resolution, done in zip(resolutions, written, strict=True)
        ]
        packages = sorted(set().union(*chosen))
        lines = [line for package in packages for line in _pins(package, resolutions, chosen)]
        header = f"# Made by lock.py from {name}.in for Python {pythons} on Linux x86-64."
        (FOLDER / f"{name}.lock").write_text("\n".join([header, *lines, ""]), encoding="utf-8")
        print(f"{name}.lock: {len(lines)} lines")
        for done, packages_of_one in zip(written, chosen, strict=True):
            done |= packages_of_one


if __name__ == "__main__":
    main()
