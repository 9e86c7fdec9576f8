# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The real cuda-python and the real NVRTC, on a driver that stands in for the one of a GPU.

``fake_cuda.py`` takes any argument; the bindings refuse a wrong one. So what is tested here is each
call of ``runtime/gpu`` with its arguments, that NVRTC makes machine code of the kernels, and that
other threads go on while one waits for the GPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cuda_on_cpu
import pytest

import eloss_perception.runtime.gpu.pillarizer as pillarizer_module
from eloss_perception.errors import BackendError
from eloss_perception.runtime.gpu.driver import Nvrtc

SOURCE = Path(pillarizer_module.__file__).with_name("pillars.cu")

PROGRAM = """
import os, threading, time
from pathlib import Path
import numpy as np
from eloss_perception.detection.grid import PillarGrid
from eloss_perception.detection.pillars import pillarize
from eloss_perception.errors import BackendError
from eloss_perception.runtime.gpu.cuda import CudaContext
from eloss_perception.runtime.gpu.pillarizer import DevicePillarizer

grid = PillarGrid((0.0, -4.0, -3.0, 8.0, 4.0, 1.0), (0.25, 0.25), 500, 8)
points = np.random.default_rng(0).uniform((-2, -6, -4, 0), (10, 6, 2, 1), (5000, 4)).astype("f4")
with CudaContext(0) as context:
    assert context.device_name == "CPU in disguise" and context.compute_capability == (8, 7)
    try:
        context.allocate(1 << 40)
    except BackendError as error:
        assert str(error) == "cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY (in words)", error
    pillarizer = DevicePillarizer(context, grid, max_points=1)
    for _ in range(2):
        pillars, expected = pillarizer(points), pillarize(points, grid)
        assert pillars.counts == expected.counts
        for name in ("points", "features", "cell_to_pillar"):
            wanted = getattr(expected, name)
            got = context.pinned(wanted.shape, wanted.dtype)
            context.download(getattr(pillars, name), got)
            context.synchronize()
            assert (got.view(np.uint32) == wanted.view(np.uint32)).all(), name
    busy = Path(os.environ["BUSY_ON_CPU"])
    busy.touch()
    waiting = threading.Thread(target=context.synchronize)
    waiting.start()
    # Were the interpreter's lock held, nothing ran here, and the driver would abort after a minute.
    while not Path(f"{busy}.seen").exists():
        time.sleep(0.01)
    busy.unlink()
    waiting.join()
print("equal")
"""


@cuda_on_cpu.needs_compiler
def test_the_real_bindings_take_every_call(tmp_path: Path) -> None:
    try:
        Nvrtc().call("nvrtcVersion")
    except BackendError as error:
        pytest.skip(f"cuda-bindings or NVRTC is not here: {error}")
    driver = Path(__file__).with_name("cuda_driver_on_cpu.cpp")
    cuda_on_cpu.compile_cpp(driver.read_text(encoding="utf-8"), tmp_path / "libcuda.so.1")
    kernels = cuda_on_cpu.compile_library(SOURCE.read_text(encoding="utf-8"))
    libraries = f"{tmp_path}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    environment = {
        "LD_LIBRARY_PATH": libraries,
        "KERNELS_ON_CPU": str(kernels),
        "BUSY_ON_CPU": str(tmp_path / "busy"),
    }
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | environment,
        cwd=SOURCE.parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "equal\n"), result.stderr
