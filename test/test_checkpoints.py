# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: whole, harmless to read, and a run continued from one ends as if never stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from training_factory import CarFrames, settings

from eloss_perception.errors import ConfigError, DataError
from eloss_perception.training import trainer
from eloss_perception.training.checkpoints import (
    load_checkpoint,
    load_network,
    refuse_other_settings,
    save_checkpoint,
)
from eloss_perception.training.data import loading
from eloss_perception.training.data.loading import TrainingData
from eloss_perception.training.metrics import read_metrics

TIMES = ("seconds", "samples_per_second", "waiting")

LONG = {"steps": 60, "checkpoint_every": 4, "log_every": 3, "profile_every": 5}

# Trains in a process of its own, which can be killed.
SCRIPT = f"""
import sys
from pathlib import Path
from training_factory import CarFrames, settings, use_frames
from eloss_perception.training.trainer import train

use_frames(CarFrames())
train(settings(Path(sys.argv[1]), **{LONG}))
"""


@pytest.fixture(autouse=True)
def cheap_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "open_data", lambda settings: TrainingData(CarFrames(), None))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "open_data", lambda settings: TrainingData(CarFrames(), None))
        return trainer.train(settings(tmp_path_factory.mktemp("runs")))


def learned(run_dir: Path) -> tuple[dict, list[dict]]:
    """All tensors of a checkpoint and all metrics but the times."""
    state = load_checkpoint(run_dir / "checkpoint.pt")
    tensors = {
        f"{part}.{name}": value
        for part in ("network", "averaged")
        for name, value in state[part].items()
    }
    for index, moments in state["optimizer"]["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
    metrics = [
        {name: value for name, value in row.items() if name not in TIMES}
        for row in read_metrics(run_dir / "metrics.jsonl")
    ]
    return tensors, metrics


def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    run = settings(tmp_path / "killed", **LONG)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(run.output)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "test")])},
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and len(read_metrics(run.run_dir / "metrics.jsonl")) < 9:
        time.sleep(random.uniform(0.0, 0.05))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert 0 < load_checkpoint(run.run_dir / "checkpoint.pt")["step"] < run.steps

    trainer.train(run)
    whole = settings(tmp_path / "whole", **LONG)
    trainer.train(whole)
    tensors, metrics = learned(run.run_dir)
    expected_tensors, expected_metrics = learned(whole.run_dir)
    assert tensors.keys() == expected_tensors.keys()
    assert [n for n, value in expected_tensors.items() if not torch.equal(tensors[n], value)] == []
    assert metrics == expected_metrics


def test_a_finished_run_is_left_alone(checkpoint: Path) -> None:
    before = checkpoint.read_bytes()
    metrics = (checkpoint.parent / "metrics.jsonl").read_bytes()
    run = settings(checkpoint.parents[1])
    assert trainer.train(run) == checkpoint
    assert checkpoint.read_bytes() == before
    assert (checkpoint.parent / "metrics.jsonl").read_bytes() == metrics


def test_another_run_in_the_same_folder_is_refused_by_name_of_the_setting(checkpoint: Path) -> None:
    state = load_checkpoint(checkpoint)
    folder = checkpoint.parents[1]
    harmless = settings(folder, num_workers=2, num_threads=2, checkpoint_every=7, device="auto")
    refuse_other_settings(state, harmless, checkpoint)
    for changes, name in (
        ({"learning_rate": 0.1}, r"learning_rate = 0\.1 \(checkpoint: 0\.002\)"),
        ({"entropy_loss": {"variant": "off"}}, r"entropy_loss\.variant = 'off'"),
        ({"steps": 7}, "steps = 7"),
    ):
        with pytest.raises(ConfigError, match=name):
            trainer.train(settings(folder, **changes))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for content in (b"", b"no checkpoint", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"checkpoint\.pt"):
            load_checkpoint(path)
    torch.save({"format": 99}, path)
    with pytest.raises(DataError, match=r"no checkpoint of format 2"):
        load_checkpoint(path)


def test_reading_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"format": 2, "step": Malicious()}, tmp_path / "checkpoint.pt")
    with pytest.raises(DataError, match="cannot read checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "touched").exists()


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, {"step": lambda: 2})
    assert load_checkpoint(path)["step"] == 1


def test_a_checkpoint_of_the_first_format_still_gives_its_network(
    checkpoint: Path, tmp_path: Path
) -> None:
    state = load_checkpoint(checkpoint)
    old_settings = json.loads(state["settings"])
    for name in ("accumulate", "device", "precision", "validation", "log_every"):
        del old_settings[name]
    old = {
        "format": 1,
        "settings": json.dumps(old_settings | {"bfloat16": True, "entropy_loss": OLD_ENTROPY_LOSS}),
        "step": 6,
        "averaged": {"n_averaged": torch.tensor(6)}
        | {f"module.{name}": value for name, value in state["averaged"].items()},
    }
    path = tmp_path / "light" / "checkpoint.pt"
    path.parent.mkdir()
    torch.save(old, path)
    network, old_run = load_network(path)
    assert old_run.precision == "bfloat16"
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, state["averaged"][name], rtol=0, atol=0)
    with pytest.raises(DataError, match="older version"):
        trainer.train(settings(tmp_path))


OLD_ENTROPY_LOSS = {"steadiness": 2.0, "direction": 1.0, "ramp": 0.2}
