# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer: a run's parts, the loop over its steps, and what a step does."""

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
from eloss_perception.training.distributed import (
    Processes,
    join_processes,
    without_averaging,
)
from eloss_perception.training.losses import detection_losses
from eloss_perception.training.metrics import Metrics, StepClock
from eloss_perception.training.optimization import (
    choose_precision,
    make_optimizer,
    make_schedule,
    set_up_torch,
    update_average,
)
from eloss_perception.training.settings import TrainingSettings
from eloss_perception.training.validation import Validation

_LOG = logging.getLogger(__name__)

# Without an object in so many steps, something is wrong with the labels, the range or the classes.
_STEPS_TO_SEE_AN_OBJECT = 50


# Attributes of a run whose state a checkpoint holds.
_PARTS = ("network", "averaged", "optimizer", "schedule", "scaler", "entropy_loss", "metrics")


def train(settings: TrainingSettings) -> Path:
    """Trains a network, continuing the run's checkpoint where there is one.

    Args:
        settings: The run. Started by ``torchrun``, this process does its share of it.

    Returns:
        Path of the checkpoint, see ``training/checkpoints.py``.

    Raises:
        ConfigError: If the settings cannot be met here, or are not those of the checkpoint.
        DataError: If the training data cannot be read or holds no object, a loss or gradient is
            not finite (the batch is then saved beside the checkpoint), the validation's data cannot
            be used, or a disk cannot be written. What was saved before is whole.
        KeyboardInterrupt: After SIGINT or SIGTERM, once the step is finished and saved; its text
            says how to continue.
    """
    with (
        join_processes(settings.device, settings.batch_size, settings.accumulate) as processes,
        StopSignal(limit_s=None) as stop,  # a step may take longer, and is saved at its end
    ):
        run = _Run(settings, processes)
        first_step = run.restore()
        run.open_validation(first_step)
        run.train(first_step, stop)
        return run.checkpoint


class _Run:
    """What is trained, what trains it, and what is written about it."""

    def __init__(self, settings: TrainingSettings, processes: Processes) -> None:
        device = processes.device
        self.settings, self.processes = settings, processes
        self.precision = choose_precision(settings.precision, device)
        set_up_torch(settings.num_threads, settings.seed, settings.deterministic, device)
        grid = settings.grid.build(settings.training_half_width)
        network = PillarNetwork(settings.network, grid.num_y, grid.num_x)
        self.network: PillarNetwork = network.to(  # type: ignore[call-overload]
            device, memory_format=torch.channels_last
        )
        self.averaged = copy.deepcopy(self.network)
        self.optimizer = make_optimizer(
            self.network, settings.learning_rate, settings.weight_decay, device
        )
        self.schedule = make_schedule(
            self.optimizer, settings.learning_rate, settings.steps, settings.warm_up
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == torch.float16)
        self.entropy_loss = EntropyLoss(
            settings.entropy_loss,
            self.network.layer_stages,
            settings.steps,
            processes.rank,
            processes.size,
        )
        self.metrics = Metrics(
            settings.run_dir, settings.log_every, settings.tensorboard, processes.is_first
        )
        self.validation: Validation | None = None
        self.checkpoint = settings.run_dir / CHECKPOINT_NAME
        self.ancestors: list[dict[str, Any]] = []

    def restore(self) -> int:
        """Continues the run's checkpoint or starts from initial weights; returns the steps done."""
        first_step = 0
        initial = self.settings.initial_weights
        if self.checkpoint.exists():
            state = load_checkpoint(self.checkpoint)
            refuse_other_settings(state, self.settings, self.checkpoint)
            for name in _PARTS:
                getattr(self, name).load_state_dict(state[name])
            set_rng_state(state["rng"], self.processes.device)
            first_step, self.ancestors = int(state["step"]), earlier_runs(state)
        elif initial is not None:
            state = load_checkpoint(initial)
            load_weights(self.network, state["averaged"], initial)
            load_weights(self.averaged, state["averaged"], initial)
            self.ancestors = [*earlier_runs(state), run_of(state)]
        self.metrics.start(first_step)
        return first_step

    def open_validation(self, first_step: int) -> None:
        """Opens the validation; evaluates a finished run that was stopped before it was."""
        settings = self.settings
        if settings.validation is None or not self.processes.is_first:
            return
        self.validation = Validation(
            settings.validation,
            settings.network,
            settings.grid.build(),
            settings.class_names,
            self.processes.device,
        )
        if first_step == settings.steps and not self.metrics.has_validation(first_step):
            self.metrics.add_validation(first_step, self.validation.score(self.averaged))

    def train(self, first_step: int, stop: StopSignal) -> None:
        """Runs the steps that are left."""
        settings, processes = self.settings, self.processes
        model = processes.parallel(self.network)
        if settings.compile:
            model = torch.compile(model)
        with processes.in_turn():  # the first checks and caches the data for all
            steps = load_batches(
                settings,
                first_step,
                processes.rank,
                processes.size,
                pin_memory=processes.device.type == "cuda",
            )
        clock = StepClock(first_step, settings.steps, settings.batch_size, processes.is_first)
        seen_an_object = first_step > 0
        model.train()
        for step, batches in enumerate(clock.waits_for(steps), first_step):
            losses, taps = self._gradients(model, batches, step)
            values, stopping = self._checked_values(losses, batches, step, stop)
            seen_an_object = seen_an_object or values["box"] > 0.0
            if not seen_an_object and step + 1 >= _STEPS_TO_SEE_AN_OBJECT:
                raise DataError(
                    f"no labelled object in {step + 1} steps: check `data`, `class_names` and "
                    "`grid.point_cloud_range` against the labels"
                )
            # 5. The update.
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.schedule.step()
            update_average(self.averaged, self.network, settings.ema_decay, step)
            clock.end_step(step + 1, {name: values[name] for name in losses})
            self._write(step, values, taps, clock)
            self._save_and_validate(step + 1, stopping)
            if stopping and step + 1 < settings.steps:
                clock.close()
                self.metrics.close()
                raise KeyboardInterrupt(
                    f"stopped after step {step + 1} of {settings.steps}; the same command "
                    "continues there"
                )
            clock.pause()
        clock.close()
        self.metrics.close()

    def _gradients(
        self, model: nn.Module, batches: list[Batch], step: int
    ) -> tuple[dict[str, Tensor], list[Tap]]:
        """Accumulates a step's gradients; returns its loss terms and the last batch's taps."""
        device, precision = self.processes.device, self.precision
        self.optimizer.zero_grad(set_to_none=True)
        losses: dict[str, Tensor] = {}
        for number, batch in enumerate(batches, 1):
            # Gradients are averaged over the processes once, with the step's last batch.
            with nullcontext() if number == len(batches) else without_averaging(model):
                batch = move(batch, device)
                # 1. The network, in the precision that suits the device.
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    class_logits, box_regression, taps = model(*batch[:3])
                # 2. The losses, in float32: detection, and the entropies' against it.
                terms = detection_losses(
                    self.settings.network.head,
                    class_logits.float(),
                    box_regression.float(),
                    batch.targets,
                    self.processes.normalizer,
                )
                task_loss = torch.stack(list(terms.values())).sum()
                entropy_terms = self.entropy_loss.terms(taps, step)
                terms |= self.entropy_loss.balance(
                    task_loss, entropy_terms, self.network.stages.parameters(), step
                )
                # 3. Their gradient.
                total = torch.stack(list(terms.values())).sum() / len(batches)
                self.scaler.scale(total).backward()
            for name, term in terms.items():
                losses[name] = losses.get(name, 0.0) + term.detach() / len(batches)
        return losses, taps

    def _checked_values(
        self, losses: dict[str, Tensor], batches: list[Batch], step: int, stop: StopSignal
    ) -> tuple[dict[str, float], bool]:
        """The step's numbers, the same in every process, and whether one was asked to stop."""
        # 4. Gradients are clipped; a step whose loss is not finite ends the run.
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        asked_to_stop = torch.tensor(float(stop.is_set), device=self.processes.device)
        numbers = self.processes.mean(torch.stack([*losses.values(), norm, asked_to_stop]))
        *loss_values, norm_value, stopping = numbers.tolist()
        values = dict(zip(losses, loss_values, strict=True))
        values |= {"loss": sum(loss_values), "gradient_norm": norm_value}
        values["learning_rate"] = self.schedule.get_last_lr()[0]
        # The scaler skips the step of a gradient that float16 cannot hold.
        checked = values["loss"] + (0.0 if self.scaler.is_enabled() else norm_value)
        if not math.isfinite(checked):
            path = self.settings.run_dir / f"bad_batch_{self.processes.rank}.pt"
            torch.save([batch._asdict() for batch in batches], path)
            raise DataError(
                f"loss {values['loss']} and gradient norm {norm_value} at step {step}: the batch "
                f"is in {path}"
            )
        return values, bool(stopping)

    def _write(
        self, step: int, values: dict[str, float], taps: list[Tap], clock: StepClock
    ) -> None:
        """Metrics of the step, and every so often the mean entropy of each layer."""
        finished = step + 1 == self.settings.steps
        if step % self.settings.profile_every == 0 or finished:
            with torch.no_grad():
                entropy, _ = self.network.measure(taps)  # (B, L)
                mean = self.processes.mean(entropy.mean(dim=0))  # (L,)
            names = self.network.layer_names
            self.metrics.add_profile(step, dict(zip(names, mean.tolist(), strict=True)))
        self.metrics.add(step + 1, values, clock.timings())
        if finished:
            self.metrics.flush(step + 1)

    def _save_and_validate(self, done: int, stopping: bool) -> None:
        """Writes the checkpoint and evaluates the averaged network, where either is due."""
        settings, processes = self.settings, self.processes
        finished = done == settings.steps
        validates = settings.validation is not None and (
            done % settings.validation.every == 0 or finished
        )
        # Saved before it is validated, which may fail.
        if done % settings.checkpoint_every == 0 or finished or stopping or validates:
            if processes.is_first:
                state = {"settings": settings.model_dump_json(), "step": done}
                state["earlier_runs"] = self.ancestors
                state |= {name: getattr(self, name).state_dict() for name in _PARTS}
                save_checkpoint(self.checkpoint, state | {"rng": rng_state(processes.device)})
            processes.wait()
        if validates and (finished or not stopping):
            if self.validation is not None:
                # A signal ends the validation, and the next step the run in every process.
                try:
                    self.metrics.add_validation(done, self.validation.score(self.averaged))
                except KeyboardInterrupt:
                    _LOG.warning("the validation after step %d was interrupted", done)
            processes.wait()
