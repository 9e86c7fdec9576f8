# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two processes train what one trains, up to the order of summation."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from training_factory import CarFrames, settings

from eloss_perception.errors import ConfigError
from eloss_perception.training import trainer
from eloss_perception.training.checkpoints import load_checkpoint
from eloss_perception.training.data import loading
from eloss_perception.training.data.loading import TrainingData, load_batches
from eloss_perception.training.distributed import Processes, SynchronizedBatchNorm, join_processes
from eloss_perception.training.metrics import read_metrics

STEPS = 8
SCRIPT = f"""
import sys
from pathlib import Path
from training_factory import CarFrames, settings, use_frames
from eloss_perception.training.trainer import train

use_frames(CarFrames())
train(settings(Path(sys.argv[1]), steps={STEPS}, batch_size=4, log_every=1,
               entropy_loss={{"measure_every": 4}}))
"""


def rows(folder: Path, key: str) -> list[dict]:
    return [row for row in read_metrics(folder / "light" / "metrics.jsonl") if key in row]


def test_two_processes_train_what_one_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).resolve().parents[1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {  # as torchrun sets it
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "test")]),
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "two")],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors

    monkeypatch.setattr(loading, "open_data", lambda settings: TrainingData(CarFrames(), None))
    one = {"steps": STEPS, "batch_size": 4, "log_every": 1, "entropy_loss": {"measure_every": 4}}
    trainer.train(settings(tmp_path / "one", **one))

    assert len(rows(tmp_path / "two", "loss")) == STEPS, "more than one process wrote"
    for name, tolerance in (
        # Rounding that tips a ReLU over its kink moves gradients far more than losses, and by them
        # what Entropy Loss is balanced with, which is read from few cells of so small a map.
        *(("heatmap", 1e-3), ("box", 1e-3), ("gradient_norm", 5e-2)),
        *(("steadiness", 3e-2), ("direction", 3e-2)),  # differences of entropies close to 1
    ):
        single, double = ([row[name] for row in rows(tmp_path / n, "loss")] for n in ("one", "two"))
        assert double == pytest.approx(single, rel=tolerance), name
    first, second = (
        load_checkpoint(tmp_path / name / "light" / "checkpoint.pt") for name in ("one", "two")
    )
    for name, value in first["network"].items():
        torch.testing.assert_close(second["network"][name], value, rtol=2e-2, atol=1e-3)
    profiles = [rows(tmp_path / n, "layer_entropy")[0]["layer_entropy"] for n in ("one", "two")]
    assert profiles[1] == pytest.approx(profiles[0], rel=1e-5)


def test_processes_share_every_step_and_no_sample_is_seen_twice(tmp_path: Path) -> None:
    run = settings(tmp_path, steps=2, batch_size=4)
    source = CarFrames()
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "open_data", lambda settings: TrainingData(source, None))
        whole = [batch for (batch,) in load_batches(run)]
        for rank in (0, 1):
            seen.append([batch for (batch,) in load_batches(run, 0, rank, 2)])
    for step in range(2):
        for rank in (0, 1):
            own = seen[rank][step].targets["heatmap"]
            torch.testing.assert_close(own, whole[step].targets["heatmap"][rank::2])


def test_synchronized_batch_norm_is_batch_norm_where_there_is_one_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: None)
    for plain, shape in (
        (torch.nn.BatchNorm1d(3), (50, 3)),
        (torch.nn.BatchNorm2d(3), (2, 3, 5, 5)),
    ):
        torch.nn.init.uniform_(plain.weight)
        other = type(plain)(3)
        other.load_state_dict(plain.state_dict())
        synchronized = SynchronizedBatchNorm.from_batch_norm(other)
        values = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 2 + 5
        inputs = [values.clone().requires_grad_() for _ in range(2)]
        outputs = [norm(x) for norm, x in zip((plain, synchronized), inputs, strict=True)]
        for output in outputs:
            (output**3).sum().backward()
        torch.testing.assert_close(outputs[1], outputs[0])
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-4, atol=1e-4)
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(synchronized.state_dict()[name], value)
        plain.eval()
        synchronized.eval()
        torch.testing.assert_close(synchronized(values), plain(values))


def test_one_process_is_a_group_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with join_processes("cpu", 3) as processes:
        assert processes == Processes(0, 1, torch.device("cpu")) and processes.is_first
        assert float(processes.normalizer(torch.tensor(0.0))) == 1.0
        assert float(processes.normalizer(torch.tensor(7.0))) == 7.0
    monkeypatch.setenv("WORLD_SIZE", "2")
    wrong = pytest.raises(ConfigError, match=r"batch_size = 3 is no multiple of processes \(2\)")
    with wrong, join_processes("cpu", 3):
        pass
