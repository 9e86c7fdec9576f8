# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy Loss: how entropy should change along the backbone, as terms of the training loss.

``ours`` asks two things of the entropies H of a stage's layers, with ΔH the change from layer to
layer: that the changes be equal (steadiness) and that none be a rise (direction). Both are squared
entropy changes, so one weight serves both. Their common magnitude follows the task loss, see
:meth:`EntropyLoss.balance`. ``published`` is what the papers' code does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, distributed

from eloss_perception.network.entropy_readout import MeasureName, entropy_measure
from eloss_perception.network.network import Tap


class EntropyLossConfig(BaseModel):
    """Variant and strength of Entropy Loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: Literal["off", "published", "ours"] = "ours"
    measure: MeasureName = Field(
        "renyi2",
        description="entropy that `ours` shapes; `published` always takes `reference`; all but "
        "renyi2 are for research and need a source checkout",
    )
    ratio: float = Field(
        0.1, gt=0, description="gradient norm of `ours` on the backbone, relative to the task's"
    )
    direction: float = Field(1.0, ge=0, description="weight of direction against steadiness")
    ramp: float = Field(
        0.2, ge=0, le=1, description="part of the run over which `ours` grows to `ratio`"
    )
    every: int = Field(
        2, ge=1, description="`ours` has terms in every such step, scaled up by this number"
    )
    measure_every: int = Field(
        100, ge=1, description="steps between measurements of the two gradients"
    )
    smoothing: float = Field(
        0.8, ge=0, lt=1, description="weight of earlier measurements in the moving average"
    )
    max_factor: float = Field(
        200.0,
        gt=0,
        description="largest factor on `ours`, so that a good profile is left alone",
    )
    published_stages: tuple[int, ...] = Field(
        (0,), min_length=1, description="stages that `published` taps; its code: the first"
    )

    @model_validator(mode="after")
    def _measured_steps_have_terms(self) -> EntropyLossConfig:
        if self.measure_every % self.every:
            raise ValueError(
                f"measure_every = {self.measure_every} is no multiple of every = {self.every}: "
                "a measured step would have no entropy terms"
            )
        return self


class EntropyLoss:
    """Entropy Loss of one training run.

    A step reads: ``terms`` from the tapped maps, ``balance`` to scale them, then the sum of task
    and entropy terms backward.
    """

    def __init__(
        self,
        config: EntropyLossConfig,
        stages: Sequence[int],
        num_steps: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Entropy Loss for a network whose tapped layers lie in ``stages``.

        Args:
            config: Variant and strength.
            stages: Stage index of each tapped layer.
            num_steps: Steps of the whole run, which the ramp is a part of.
            rank: This process among those that share a step's batch.
            world_size: Their number.

        Raises:
            ConfigError: If the measure is for research and no source checkout has it.
        """
        self.config = config
        self.num_steps = num_steps
        self._rank = rank
        self._world_size = world_size
        measures: dict[str, MeasureName] = {"off": "renyi2", "published": "reference"}
        self._measure = entropy_measure(measures.get(config.variant, config.measure))
        wanted = set(config.published_stages) if config.variant == "published" else set(stages)
        # Pairs of neighbouring layers, stage by stage: across a boundary stride and width change,
        # and with them what is measured. A variance needs two differences.
        pairs = [
            [i for i in range(len(stages) - 1) if stages[i] == stages[i + 1] == stage]
            for stage in sorted(wanted)
        ]
        self._pairs = [inside for inside in pairs if len(inside) >= 2]
        self._log_factor = 0.0
        self._num_measured = 0

    @property
    def factor(self) -> float:
        """Factor on ``ours`` before the ramp; 0 before the first measurement."""
        if self._num_measured == 0:
            return 0.0
        return min(math.exp(self._log_factor), self.config.max_factor)

    def terms(self, taps: Sequence[Tap], step: int) -> dict[str, Tensor]:
        """Entropy terms of one frame of the batch, another frame each time.

        One frame is an unbiased estimate of the batch's mean at a fraction of the cost, and so is
        every other step of a run. With several processes the frame is one of the whole batch: the
        process that holds it counts for all, since their gradients are averaged, and the others
        contribute 0.

        Args:
            taps: Tapped layers in order, maps (B, C, H, W).
            step: Step of the run.

        Returns:
            ``steadiness`` and ``direction`` (``published``: the former alone), scalars >= 0 in
            float32; empty for ``off`` and where no stage has three layers.
        """
        if self.config.variant == "off" or not self._pairs:
            return {}
        published = self.config.variant == "published"
        names = ("steadiness",) if published else ("steadiness", "direction")
        every = 1 if published else self.config.every
        turn, rest = divmod(step, every)
        frame, owner = divmod(turn % (len(taps[0].bev) * self._world_size), self._world_size)
        if rest or owner != self._rank:
            # Zero, but with a graph: synchronised batch norm waits for every process's backward.
            zero = taps[self._pairs[-1][-1] + 1].bev[:0].float().sum()
            return dict.fromkeys(names, zero)
        changes = []
        for inside in self._pairs:
            # A stage's layers are alike in shape: measured as one batch, frame by frame as ever.
            layers = [taps[i] for i in (*inside, inside[-1] + 1)]
            maps = torch.cat([_one_frame(tap.bev, frame) for tap in layers])  # (L, C, H, W)
            active = torch.cat([tap.active[frame : frame + 1] for tap in layers])
            entropy = self._measure(maps, active)  # (L,)
            changes.append(entropy[1:] - entropy[:-1])
        steadiness = torch.stack([c.var(unbiased=True) for c in changes]).mean()
        share = self._world_size * every
        terms = {"steadiness": steadiness * share}
        if not published:
            rises = torch.stack([c.relu().square().mean() for c in changes]).mean()
            terms["direction"] = self.config.direction * rises * share
        return terms

    def balance(
        self,
        task_loss: Tensor,
        terms: dict[str, Tensor],
        parameters: Iterable[Tensor],
        step: int,
    ) -> dict[str, Tensor]:
        """Scales the terms against the task loss.

        The rule for ``ours``: the gradient of the entropy terms on the backbone's parameters has
        ``ratio`` times the norm of the task loss's, times the ramp, steps without terms counted
        in. Both norms are measured on every ``measure_every``-th step's batch, by two more backward
        passes; the factor is a moving geometric mean of the quotients, whose first values count
        less and less, and is at most ``max_factor``. ``published`` has weight 1 and no ramp.

        Args:
            task_loss: Sum of the detection terms, with its graph.
            terms: What :meth:`terms` returned.
            parameters: The backbone's parameters, those that both losses reach.
            step: Step of the run.

        Returns:
            The terms to add to the task loss.
        """
        if self.config.variant != "ours" or not terms:
            return terms
        if step % self.config.measure_every == 0:
            entropy_loss = torch.stack(list(terms.values())).sum() / self.config.every
            self._update_factor(task_loss, entropy_loss, list(parameters))
        ramp = min(1.0, (step + 1) / max(1.0, self.config.ramp * self.num_steps))
        return {name: ramp * self.factor * term for name, term in terms.items()}

    def state_dict(self) -> dict[str, float]:
        """State that a resumed run needs to continue with the same factor."""
        return {"log_factor": self._log_factor, "num_measured": self._num_measured}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continues with the state of another run."""
        self._log_factor = float(state["log_factor"])
        self._num_measured = int(state["num_measured"])

    def _update_factor(
        self, task_loss: Tensor, entropy_loss: Tensor, parameters: list[Tensor]
    ) -> None:
        """Updates the factor by one more quotient of the two gradients' norms."""
        task = _gradient_norm(task_loss, parameters)
        entropy = _gradient_norm(entropy_loss, parameters)
        quotient = self.config.ratio * task / entropy if entropy > 0.0 else 0.0
        # A frame without active cells says nothing; the trainer handles a loss that is not finite.
        if not math.isfinite(quotient) or quotient <= 0.0:
            return
        kept = min(self.config.smoothing, self._num_measured / (self._num_measured + 1))
        self._log_factor = kept * self._log_factor + (1.0 - kept) * math.log(quotient)
        self._num_measured += 1


def _one_frame(bev: Tensor, frame: int) -> Tensor:
    """Frame of a map, (1, C, H, W), whose gradient comes back in the map's own memory format.

    A plain slice of a channels-last map returns its gradient channels first. Every layer's backward
    pass would then mix the two formats, which took 15 % of a training step.
    """
    if not bev.is_contiguous(memory_format=torch.channels_last):
        return bev[frame : frame + 1]
    return bev.permute(0, 2, 3, 1)[frame : frame + 1].permute(0, 3, 1, 2)


def _gradient_norm(loss: Tensor, parameters: list[Tensor]) -> float:
    """Norm of a loss's gradient, averaged over the processes as the optimiser will see it."""
    if loss.requires_grad:
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    else:
        found = (None,) * len(parameters)
    gradients = [
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(parameters, found, strict=True)
    ]
    flat = torch.cat([gradient.detach().float().flatten() for gradient in gradients])
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(flat)
        flat = flat / distributed.get_world_size()
    return float(flat.norm())
