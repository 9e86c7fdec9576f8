# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer: one loop, read top to bottom."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from eloss_perception.errors import DataError
from eloss_perception.model.entropy import entropy_loss
from eloss_perception.model.network import PillarNetwork, Tap, measure_taps
from eloss_perception.training.frames import FrameSource, KittiFrames, SimulatedFrames
from eloss_perception.training.losses import detection_losses
from eloss_perception.training.samples import Batch, TrainingSamples, collate
from eloss_perception.training.settings import TrainingSettings, parse_settings

CHECKPOINT_FORMAT = 1
METRICS_NAME = "metrics.jsonl"

_LOG = logging.getLogger(__name__)


def train(settings: TrainingSettings) -> Path:
    """Trains a network, continuing the run's checkpoint where there is one.

    Args:
        settings: The run.

    Returns:
        Path of the checkpoint: weights (averaged and raw), optimiser, step and settings.

    Raises:
        DataError: If the training data cannot be read, or a loss is not finite (the batch is then
            saved beside the checkpoint).
    """
    torch.set_num_threads(settings.num_threads)
    torch.manual_seed(settings.seed)
    grid = settings.grid.build(settings.training_half_width)
    network = PillarNetwork(settings.network, grid.num_y, grid.num_x)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = AveragedModel(network, avg_fn=_moving_average(settings.ema_decay), use_buffers=True)
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.steps, pct_start=0.3
    )
    checkpoint = settings.run_dir / "checkpoint.pt"
    first_step = 0
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first_step = int(state["step"])
    settings.run_dir.mkdir(parents=True, exist_ok=True)

    metrics = _MetricsFile(settings.run_dir / METRICS_NAME)
    batches = _load_batches(settings, first_step)
    progress = tqdm(batches, initial=first_step, total=settings.steps, unit="step", smoothing=0.02)
    network.train()
    for step, batch in enumerate(progress, first_step):
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
            class_logits, boxes, taps = network.forward_taps(*batch[:3])
        losses = _losses(settings, step, class_logits.float(), boxes.float(), taps, batch)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            torch.save(batch._asdict(), settings.run_dir / "bad_batch.pt")
            raise DataError(f"loss {total.item()} at step {step}: {settings.run_dir}/bad_batch.pt")
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        values = {name: float(value.detach()) for name, value in losses.items()}
        metrics.add(step, values)
        if step % 20 == 0:
            progress.set_postfix({name: f"{value:.3f}" for name, value in values.items()})
        if (step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps:
            _save_checkpoint(checkpoint, settings, step + 1, network, averaged, optimizer, schedule)
    return checkpoint


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint without running any code from it.

    Raises:
        DataError: If the file is missing, damaged or of another format.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, UnpicklingError) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"cannot read checkpoint {path}: {first_line}") from None
    if not isinstance(state, dict) or state.get("format") != CHECKPOINT_FORMAT:
        raise DataError(f"{path} is no checkpoint of format {CHECKPOINT_FORMAT}; train again")
    return state


def load_network(path: Path) -> tuple[PillarNetwork, TrainingSettings]:
    """The averaged network of a checkpoint, in evaluation mode, and the settings it came from."""
    state = load_checkpoint(path)
    settings = parse_settings(state["settings"])
    grid = settings.grid.build()
    network = PillarNetwork(settings.network, grid.num_y, grid.num_x)
    prefix = "module."
    weights = {
        name[len(prefix) :]: value
        for name, value in state["averaged"].items()
        if name.startswith(prefix)
    }
    network.load_state_dict(weights)
    return network.eval(), settings


def _moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Exponential moving average that forgets faster at first: the first steps are all wrong."""

    def average(averaged: Tensor, current: Tensor, num_averaged: Tensor) -> Tensor:
        if not averaged.is_floating_point():
            return current
        step = int(num_averaged)
        return averaged.lerp(current, 1.0 - min(decay, (1.0 + step) / (10.0 + step)))

    return average


def _losses(
    settings: TrainingSettings,
    step: int,
    class_logits: Tensor,
    boxes: Tensor,
    taps: list[Tap],
    batch: Batch,
) -> dict[str, Tensor]:
    """The weighted terms of the loss; their sum is minimised."""
    losses = detection_losses(settings.network.head, class_logits, boxes, batch.targets)
    entropy = settings.entropy_loss
    if entropy.steadiness or entropy.direction:
        # One frame of the batch, another one each step: an unbiased estimate at a quarter the cost.
        frame = step % len(class_logits)
        layer_entropy = measure_taps(
            [Tap(tap.bev[frame : frame + 1], tap.active[frame : frame + 1]) for tap in taps]
        )
        steadiness, direction = entropy_loss(layer_entropy, _stages(settings))
        ramp = min(1.0, (step + 1) / max(1.0, entropy.ramp * settings.steps))
        losses["steadiness"] = ramp * entropy.steadiness * steadiness
        losses["direction"] = ramp * entropy.direction * direction
    return losses


def _stages(settings: TrainingSettings) -> list[int]:
    return [s for s, layers in enumerate(settings.network.stage_layers) for _ in range(layers)]


def _load_batches(settings: TrainingSettings, first_step: int) -> DataLoader[Any]:
    """Batches from ``first_step`` on; the same ones whether or not the run was interrupted."""
    source: FrameSource = (
        SimulatedFrames(settings.seed, settings.lidar)
        if settings.data is None
        else KittiFrames(settings.data, settings.split)
    )
    length = settings.steps * settings.batch_size
    samples = TrainingSamples(
        source,
        settings.grid.build(settings.training_half_width),
        len(settings.class_names),
        settings.network.head,
        settings.augmentation,
        settings.reuse,
        settings.seed,
        length,
    )
    return DataLoader(
        samples,
        batch_size=settings.batch_size,
        sampler=range(first_step * settings.batch_size, length),
        num_workers=settings.num_workers,
        collate_fn=collate,
        prefetch_factor=4 if settings.num_workers else None,
    )


def _save_checkpoint(
    path: Path,
    settings: TrainingSettings,
    step: int,
    network: PillarNetwork,
    averaged: AveragedModel,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Writes the checkpoint so that a kill at any moment leaves the old or the new one whole."""
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "format": CHECKPOINT_FORMAT,
            "settings": settings.model_dump_json(),
            "step": step,
            "network": network.state_dict(),
            "averaged": averaged.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
        },
        partial,
    )
    os.replace(partial, path)


class _MetricsFile:
    """Appends the mean of every hundred steps' losses as a line of JSON."""

    _EVERY = 100

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[dict[str, float]] = []
        self._start = time.monotonic()

    def add(self, step: int, values: dict[str, float]) -> None:
        self._rows.append(values)
        if (step + 1) % self._EVERY:
            return
        row = {name: float(np.mean([r[name] for r in self._rows])) for name in values}
        row |= {"step": step + 1, "seconds": round(time.monotonic() - self._start, 1)}
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self._rows.clear()
