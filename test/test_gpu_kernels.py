# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compiling CUDA C: by NVIDIA's own compiler where it is installed, which takes no GPU."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import cuda_on_cpu
import fake_cuda
import pytest

import eloss_perception.runtime.gpu.pillarizer as pillarizer_module
from eloss_perception.errors import BackendError
from eloss_perception.runtime.gpu.cuda import CudaContext
from eloss_perception.runtime.gpu.driver import Nvrtc
from eloss_perception.runtime.gpu.kernels import KernelModule, compile_cuda

SOURCE = Path(pillarizer_module.__file__).with_name("pillars.cu").read_bytes()
LOGARITHM = b'extern "C" __global__ void a(double* x, unsigned n) { *x = log(1.0 + n); }'
# Newer than any compiler knows: what comes is PTX, which can be read.
FUTURE = (99, 0)


@pytest.fixture(scope="module")
def _nvrtc() -> None:
    try:
        Nvrtc().call("nvrtcVersion")
    except BackendError as error:
        pytest.skip(f"NVIDIA's compiler is not here: {error}")


@pytest.mark.usefixtures("_nvrtc")
@pytest.mark.parametrize("compute_capability", [(8, 7), (9, 0), FUTURE])
def test_the_kernels_compile(compute_capability: tuple[int, int]) -> None:
    image = compile_cuda(SOURCE, "pillars.cu", compute_capability)
    if compute_capability == FUTURE:
        assert image.count(b".entry") == SOURCE.count(b"__global__ void")
    else:
        assert image.startswith(b"\x7fELF")


@pytest.mark.usefixtures("_nvrtc")
def test_no_product_is_fused_with_a_sum() -> None:
    # The only ones are those inside of the library's logarithm.
    fused = compile_cuda(SOURCE, "pillars.cu", FUTURE).count(b"fma.")
    assert fused == compile_cuda(LOGARITHM, "logarithm.cu", FUTURE).count(b"fma.")


@pytest.mark.usefixtures("_nvrtc")
def test_a_mistake_in_a_kernel_is_told_in_one_line() -> None:
    with pytest.raises(
        BackendError, match=r"^some\.cu: nvrtcCompileProgram failed: .*undefined"
    ) as e:
        compile_cuda(b"__global__ void kernel() { misspelt(); }", "some.cu", (9, 0))
    assert "\n" not in str(e.value)


def test_the_structure_is_laid_out_as_in_the_source() -> None:
    declared = re.search(r"struct Frame \{(.*?)\n\};", SOURCE.decode(), re.DOTALL)
    assert declared
    members = re.sub(r"//.*", "", declared[1])
    names = re.findall(r"(\w+)\s*[,;]", members)
    assert names == [name for name, _ in pillarizer_module._Frame._fields_]
    kinds = {"double": ctypes.c_double, "int": ctypes.c_int32}
    for line in members.split(";"):
        for name in re.findall(r"(\w+)\s*(?:,|$)", line):
            kind = ctypes.c_uint64 if "*" in line else kinds[line.split()[0]]
            assert dict(pillarizer_module._Frame._fields_)[name] is kind


@pytest.mark.parametrize(
    ("capability", "supported", "option"),
    [
        ((8, 7), [75, 87, 90], b"--gpu-architecture=sm_87"),
        ((9, 1), [75, 87, 90], b"--gpu-architecture=compute_90"),
        ((12, 1), [90, 120], b"--gpu-architecture=compute_120"),
    ],
)
def test_the_architecture_is_the_gpu_or_the_newest_before_it(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    supported: list[int],
    option: bytes,
) -> None:
    fake = fake_cuda.install(monkeypatch)
    fake.supported_architectures = supported
    assert compile_cuda(b"source", "name", capability) == b"source"
    assert option in fake.compile_options and b"--fmad=false" in fake.compile_options


def test_a_gpu_older_than_the_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda.install(monkeypatch)
    with pytest.raises(BackendError, match=r"compute capability 5\.3"):
        compile_cuda(b"", "name", (5, 3))


def test_a_source_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda.install(monkeypatch)
    with (
        CudaContext(0) as context,
        pytest.raises(BackendError, match=r"missing\.cu: No such file"),
    ):
        KernelModule(context, Path("missing.cu"), pillarizer_module._Frame())


@cuda_on_cpu.needs_compiler
def test_modules_go_with_their_context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = fake_cuda.install(monkeypatch)
    path = tmp_path / "kernel.cu"
    path.write_text(
        "struct Sum { int* total; int amount; };\n"
        'extern "C" __global__ void add(const Sum s) {\n'
        "    atomicAdd(s.total, s.amount * (int)(blockIdx.x * blockDim.x + threadIdx.x));\n}\n"
    )

    class Sum(ctypes.Structure):
        _fields_ = (("total", ctypes.c_uint64), ("amount", ctypes.c_int32))

    with CudaContext(0) as context:
        total = context.allocate(4)
        context.clear(total)
        parameter = Sum(total.pointer, 2)
        module = KernelModule(context, path, parameter)
        module.launch("add", 300)
        parameter.amount = 3  # for the next launch: what was started keeps what it was given
        module.launch("add", 300, max_blocks=1)
        module.launch("add", 0)
        result = context.pinned((1,), "i4")
        context.download(total, result)
        context.synchronize()
        assert result[0] == 2 * sum(range(512)) + 3 * sum(range(256))
        assert fake.num_launches == 2 and len(fake.modules) == 1
    assert not fake.modules
