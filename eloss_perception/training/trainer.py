# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer: one loop, read top to bottom."""

from __future__ import annotations

import copy
import logging
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eloss_perception.errors import DataError
from eloss_perception.interrupts import StopSignal
from eloss_perception.network.entropy_loss import EntropyLoss
from eloss_perception.network.network import PillarNetwork, Tap
from eloss_perception.training.checkpoints import (
    CHECKPOINT_NAME,
    earlier_runs,
    load_checkpoint,
    load_weights,
    refuse_other_settings,
    rng_state,
    run_of,
    save_checkpoint,
    set_rng_state,
)
from eloss_perception.training.data.loading import load_batches, move
from eloss_perception.training.data.samples import Batch
from eloss_perception.training.devices import choose_precision, set_up_torch
from eloss_perception.training.distributed import Processes, join_processes
from eloss_perception.training.losses import detection_losses
from eloss_perception.training.metrics import Metrics
from eloss_perception.training.optimization import make_optimizer, make_schedule, update_average
from eloss_perception.training.progress import Progress
from eloss_perception.training.settings import TrainingSettings
from eloss_perception.training.validation import Validation

_LOG = logging.getLogger(__name__)

# Without an object in so many steps, something is wrong with the labels, the range or the classes.
_STEPS_TO_SEE_AN_OBJECT = 50


def train(settings: TrainingSettings) -> Path:
    """Trains a network, continuing the run's checkpoint where there is one.

    Args:
        settings: The run. Started by ``torchrun``, this process does its share of it.

    Returns:
        Path of the checkpoint, see ``training/checkpoints.py``.

    Raises:
        ConfigError: If the settings cannot be met here, or are not those of the checkpoint.
        DataError: If the training data cannot be read or holds no object, or a loss or gradient is
            not finite (the batch is then saved beside the checkpoint), the validation's data cannot
            be used, or a disk cannot be written. What was saved before is whole.
        KeyboardInterrupt: After SIGINT or SIGTERM, once the step is finished and saved; its text
            says how to go on.
    """
    with (
        join_processes(settings.device, settings.batch_size, settings.accumulate) as processes,
        StopSignal(limit_s=None) as stop,  # a step may take longer, and is saved at its end
    ):
        return _train(settings, processes, stop)


def _train(settings: TrainingSettings, processes: Processes, stop: StopSignal) -> Path:
    device = processes.device
    precision = choose_precision(settings.precision, device)
    set_up_torch(settings.num_threads, settings.seed, settings.deterministic, device)

    # What is trained, and what trains it.
    grid = settings.grid.build(settings.training_half_width)
    network = PillarNetwork(settings.network, grid.num_y, grid.num_x)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(network)
    optimizer = make_optimizer(network, settings.learning_rate, settings.weight_decay, device)
    schedule = make_schedule(optimizer, settings.learning_rate, settings.steps, settings.warm_up)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
    ranks = (processes.rank, processes.size)
    entropy_loss = EntropyLoss(settings.entropy_loss, network.layer_stages, settings.steps, *ranks)
    run_dir = settings.run_dir
    metrics = Metrics(run_dir, settings.log_every, settings.tensorboard, processes.is_first)
    parts = {
        "network": network,
        "averaged": averaged,
        "optimizer": optimizer,
        "schedule": schedule,
        "scaler": scaler,
        "entropy_loss": entropy_loss,
        "metrics": metrics,
    }

    # A new run, or an old one where it was.
    checkpoint = run_dir / CHECKPOINT_NAME
    first_step, ancestors = 0, []
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        refuse_other_settings(state, settings, checkpoint)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        set_rng_state(state["rng"], device)
        first_step, ancestors = int(state["step"]), earlier_runs(state)
    elif settings.initial_weights is not None:
        state = load_checkpoint(settings.initial_weights)
        load_weights(network, state["averaged"], settings.initial_weights)
        load_weights(averaged, state["averaged"], settings.initial_weights)
        ancestors = [*earlier_runs(state), run_of(state)]
    metrics.start(first_step)
    validation = None
    if settings.validation is not None and processes.is_first:
        whole = settings.grid.build()
        validation = Validation(
            settings.validation, settings.network, whole, settings.class_names, device
        )
        if first_step == settings.steps and not metrics.has_validation(first_step):
            metrics.add_validation(first_step, validation.score(averaged))
    model = processes.parallel(_TappedNetwork(network))
    if settings.compile:
        model = torch.compile(model)
    with processes.in_turn():  # the first checks and caches the data for all
        steps = load_batches(settings, first_step, *ranks, pin_memory=device.type == "cuda")
    progress = Progress(first_step, settings.steps, settings.batch_size, processes.is_first)
    seen_an_object = first_step > 0

    model.train()
    for step, batches in enumerate(progress.waits_for(steps), first_step):
        optimizer.zero_grad(set_to_none=True)
        losses: dict[str, Tensor] = {}
        for number, batch in enumerate(batches, 1):
            # Gradients are averaged over the processes once, with the step's last batch.
            with nullcontext() if number == len(batches) else _unshared(model):
                batch = move(batch, device)
                # 1. The network, in the precision that suits the device.
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    class_logits, box_regression, taps = model(*batch[:3])
                # 2. The losses, in float32: detection, and the entropies' against it.
                terms = detection_losses(
                    settings.network.head,
                    class_logits.float(),
                    box_regression.float(),
                    batch.targets,
                    processes.normalizer,
                )
                task_loss = torch.stack(list(terms.values())).sum()
                backbone = network.stages.parameters()
                entropy_terms = entropy_loss.terms(taps, step)
                terms |= entropy_loss.balance(task_loss, entropy_terms, backbone, step)
                # 3. Their gradient.
                total = torch.stack(list(terms.values())).sum() / len(batches)
                scaler.scale(total).backward()
            for name, term in terms.items():
                losses[name] = losses.get(name, 0.0) + term.detach() / len(batches)
        scaler.unscale_(optimizer)
        gradient_norm = nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)

        # 4. The numbers of the step, the same in every process.
        asked_to_stop = torch.tensor(float(stop.is_set), device=device)
        numbers = processes.mean(torch.stack([*losses.values(), gradient_norm, asked_to_stop]))
        *loss_values, norm_value, stopping = numbers.tolist()
        values = dict(zip(losses, loss_values, strict=True))
        values |= {"loss": sum(loss_values), "gradient_norm": norm_value}
        values["learning_rate"] = schedule.get_last_lr()[0]
        # A gradient that float16 cannot hold is the scaler's to skip.
        checked = values["loss"] if scaler.is_enabled() else values["loss"] + norm_value
        if not math.isfinite(checked):
            _save_batches(batches, run_dir, processes.rank)
            raise DataError(
                f"loss {values['loss']} and gradient norm {norm_value} at step {step}: the batch "
                f"is in {run_dir}/bad_batch_{processes.rank}.pt"
            )
        seen_an_object = seen_an_object or values["box"] > 0.0
        if not seen_an_object and step + 1 >= _STEPS_TO_SEE_AN_OBJECT:
            raise DataError(
                f"no labelled object in {step + 1} steps: check `data`, `class_names` and "
                "`grid.point_cloud_range` against the labels"
            )

        # 5. The update.
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        update_average(averaged, network, settings.ema_decay, step)

        # 6. What is written down.
        done = step + 1
        finished = done == settings.steps
        progress.end_step(done, {name: values[name] for name in losses})
        if step % settings.profile_every == 0 or finished:
            metrics.add_profile(step, _profile(network, taps, processes))
        metrics.add(done, values, progress.timings())
        if finished:
            metrics.flush(done)
        validates = settings.validation is not None and (
            done % settings.validation.every == 0 or finished
        )
        # Saved before it is validated, which may fail.
        if done % settings.checkpoint_every == 0 or finished or stopping or validates:
            if processes.is_first:
                states = {name: part.state_dict() for name, part in parts.items()}
                about = {"settings": settings.model_dump_json(), "step": done}
                about["earlier_runs"] = ancestors
                save_checkpoint(checkpoint, about | states | {"rng": rng_state(device)})
            processes.wait()
        if validates and (finished or not stopping):
            if validation is not None:
                _validate(validation, averaged, metrics, done)
            processes.wait()
        if stopping and not finished:
            progress.close()
            metrics.close()
            raise KeyboardInterrupt(
                f"stopped after step {done} of {settings.steps}; the same command continues there"
            )
        progress.pause()
    progress.close()
    metrics.close()
    return checkpoint


def _validate(validation: Validation, averaged: nn.Module, metrics: Metrics, step: int) -> None:
    """Evaluates the network; a signal ends that, and the next step the run in every process."""
    try:
        metrics.add_validation(step, validation.score(averaged))
    except KeyboardInterrupt:
        _LOG.warning("the validation after step %d was interrupted", step)


class _TappedNetwork(nn.Module):
    """``forward_taps`` as the ``forward`` that parallel and compiled modules are called by."""

    def __init__(self, network: PillarNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, points: Tensor, features: Tensor, cell_to_pillar: Tensor
    ) -> tuple[Tensor, Tensor, list[Tap]]:
        return self.network.forward_taps(points, features, cell_to_pillar)


def _unshared(model: nn.Module) -> Any:
    """A context in which gradients add up without being averaged over processes."""
    return model.no_sync() if hasattr(model, "no_sync") else nullcontext()


@torch.no_grad()
def _profile(network: PillarNetwork, taps: list[Tap], processes: Processes) -> dict[str, float]:
    """Mean entropy of each layer over the step's last batch."""
    entropy, _ = network.measure(taps)  # (B, L)
    mean = processes.mean(entropy.mean(dim=0))  # (L,)
    return dict(zip(network.layer_names, mean.tolist(), strict=True))


def _save_batches(batches: list[Batch], run_dir: Path, rank: int) -> None:
    """Keeps a step's batches for whoever has to find out what is wrong with them."""
    torch.save([batch._asdict() for batch in batches], run_dir / f"bad_batch_{rank}.pt")
