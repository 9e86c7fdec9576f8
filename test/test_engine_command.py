# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`eloss engine` from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from eloss_perception import cli
from eloss_perception.runtime.bundle import Bundle

pytest.importorskip("onnx")

import fake_cuda
import fake_tensorrt
from rtx import rtx_or_skip
from tiny_bundle import write_tiny_bundle

MODELS = Path(__file__).resolve().parents[1] / "models"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


def engine_command(*argv: object) -> int:
    return cli.main(["engine", *(str(argument) for argument in argv)])


def test_the_command_builds_once_and_says_where(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trt = fake_tensorrt.install(monkeypatch, fake_cuda.install(monkeypatch))
    cache = tmp_path / "engines"
    assert engine_command("--bundle", tiny, "--cache", cache) == 0
    (path,) = cache.glob("*.engine")
    assert capsys.readouterr().out.splitlines() == [
        "TensorRT 10.3.0, Fake GPU (sm_87)",
        f"engine: {path} (float32, 0.2 MB, built in 0 s)",
    ]
    assert engine_command("--bundle", tiny, "--cache", cache) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(", from the cache)")
    assert trt.num_builds == 1
    assert trt.cuda.num_retained == 0


def test_the_command_reports_failures_in_a_line(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trt = fake_tensorrt.install(monkeypatch, fake_cuda.install(monkeypatch))
    assert engine_command("--bundle", tiny, "--device", 7) == 2
    assert "there is no GPU 7" in capsys.readouterr().err
    trt.refused_operators = {"Gather"}
    assert engine_command("--bundle", tiny, "--cache", tmp_path / "engines") == 2
    assert "operator Gather" in capsys.readouterr().err
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    assert engine_command("--bundle", tiny, "--check") == 2
    assert "pip install tensorrt-rtx-cu13" in capsys.readouterr().err


def test_the_check_falls_back_on_tensorrt_itself(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    trt = fake_tensorrt.install(monkeypatch, fake_cuda.FakeCuda())
    assert engine_command("--bundle", tiny, "--check") == 0
    assert capsys.readouterr().out.startswith(f"TensorRT 10.3.0 builds {tiny} (float32, ")
    trt.refused_operators = {"Gather"}
    assert engine_command("--bundle", tiny, "--check") == 2


@pytest.mark.parametrize("name", ["pillars_light", "pillars_light_360"])
def test_the_shipped_networks_pass_the_check(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    rtx_or_skip()
    assert engine_command("--bundle", MODELS / name, "--check") == 0
    out = capsys.readouterr().out
    assert out.startswith("TensorRT-RTX ") and "(float32, " in out and name in out


@pytest.mark.parametrize("check", [[], ["--check"]])
def test_a_network_quantized_for_cpus_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], check: list[str]
) -> None:
    quantization = SimpleNamespace(precision="int8", target="cpu")
    bundle = SimpleNamespace(path="mine", facts=SimpleNamespace(quantization=quantization))
    monkeypatch.setattr(Bundle, "load_uncalibrated", lambda path: bundle)
    assert engine_command("--bundle", "mine", *check) == 2
    assert "bundle mine is quantized for cpu" in capsys.readouterr().err
