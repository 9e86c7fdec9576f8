# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Installs the offline tools (`pip install .`).

On a vehicle colcon builds the package with CMakeLists.txt instead.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

NAME = "eloss_perception"
HERE = Path(__file__).resolve().parent

# Read, not imported: the package's dependencies are not there yet when it is being installed.
VERSION = re.search(
    r'^__version__ = "([^"]+)"$', (HERE / NAME / "__init__.py").read_text(encoding="utf-8"), re.M
)
if VERSION is None:
    raise RuntimeError(f"no __version__ in {NAME}/__init__.py")
README = HERE / "README.md"
# Installed where colcon has them too: share/eloss_perception/models.
BUNDLES = {
    f"share/{NAME}/models/{folder.name}": [str(path.relative_to(HERE)) for path in folder.iterdir()]
    for folder in sorted((HERE / "models").glob("*"))
    if folder.is_dir()
}

setup(
    name=NAME,
    version=VERSION.group(1),
    description="LiDAR 3D object detection that reports when its input has gone bad",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="The eloss_perception authors",
    maintainer="eloss_perception maintainers",
    maintainer_email="maintainers@example.org",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["*/*/*.yaml", "*/*/*.cu"]},
    data_files=list(BUNDLES.items()),
    install_requires=["numba", "numpy", "onnxruntime", "pydantic>=2", "pyyaml", "rich"],
    extras_require={
        "bags": ["rosbags"],
        "dev": [
            "hypothesis",
            "mcap",
            "mcap-ros2-support",
            "mypy",
            "pytest",
            "ruff",
            "types-PyYAML",
        ],
        "gpu": ["onnxruntime-gpu"],
        "openvino": ["openvino"],
        # From 12.9.1 on its calls release the GIL. JetPack 6 has CUDA 12 and Python 3.10, 7 has 13.
        "tensorrt": [
            "cuda-bindings>=12.9.1,<13; python_version<'3.11'",
            "cuda-bindings>=13; python_version>='3.11'",
        ],
        "train": ["onnx", "onnxscript", "tensorboard", "torch==2.13.0", "tqdm"],
        "viz": ["matplotlib", "pillow"],
    },
    entry_points={"console_scripts": ["eloss=eloss_perception.cli:main"]},
)
