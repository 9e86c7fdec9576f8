# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Does Entropy Loss help? Off, as published, and ours: same seeds, same weights to start from,
same batches in the same order.

The networks of a seed are trained side by side, each batch being prepared once. What is recorded
every few hundred steps, from the averaged weights, is the average precision on simulated scans that
nobody trains on and, given a KITTI root, on real ones, and the mean entropy of each layer. A seed
that is finished is not computed again. `benchmarks/entropy_figures.py` draws the pictures. The last
averaged weights are kept as checkpoints (`OUT/seed_0_off/checkpoint.pt`) for `eloss export`.

    ./run python benchmarks/entropy_ablation.py --out ablation --steps 800 --data KITTI_ROOT
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from eloss_perception.detection.pillars import pillarize
from eloss_perception.interrupts import check_interrupt, run_script
from eloss_perception.network.entropy_loss import EntropyLoss, EntropyLossConfig
from eloss_perception.network.network import PillarNetwork
from eloss_perception.training.checkpoints import CHECKPOINT_NAME, save_checkpoint
from eloss_perception.training.data.loading import load_batches
from eloss_perception.training.data.samples import Batch
from eloss_perception.training.losses import detection_losses
from eloss_perception.training.optimization import make_optimizer, make_schedule, update_average
from eloss_perception.training.settings import TrainingSettings
from eloss_perception.training.validation import SimulatedDataset, Validation, ValidationConfig

VARIANTS = {
    "off": EntropyLossConfig(variant="off"),
    "published": EntropyLossConfig(variant="published"),
    "ours": EntropyLossConfig(variant="ours"),
}
_CPU = torch.device("cpu")
_NUM_PROFILE_SCANS = 16


class Arm:
    """One variant's network and all that its training needs."""

    def __init__(self, settings: TrainingSettings, entropy: EntropyLossConfig) -> None:
        grid = settings.grid.build(settings.training_half_width)
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.network = PillarNetwork(settings.network, grid.num_y, grid.num_x)
        self.network = self.network.to(memory_format=torch.channels_last)
        self.averaged = PillarNetwork(settings.network, grid.num_y, grid.num_x)
        self.averaged.load_state_dict(self.network.state_dict())
        self.optimizer = make_optimizer(
            self.network, settings.learning_rate, settings.weight_decay, _CPU
        )
        self.schedule = make_schedule(
            self.optimizer, settings.learning_rate, settings.steps, settings.warm_up
        )
        self.entropy_loss = EntropyLoss(entropy, self.network.layer_stages, settings.steps)

    def save(self, folder: Path, variant: str) -> None:
        """Keeps the averaged weights, for `eloss export`."""
        settings = self.settings.model_copy(
            update={"name": folder.name, "entropy_loss": VARIANTS[variant]}
        )
        folder.mkdir(parents=True, exist_ok=True)
        state = {"settings": settings.model_dump_json(), "step": settings.steps}
        save_checkpoint(folder / CHECKPOINT_NAME, state | {"averaged": self.averaged.state_dict()})

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        """One optimiser step, as in the trainer; returns the loss terms."""
        self.network.train()
        with torch.autocast("cpu", torch.bfloat16):
            class_logits, boxes, taps = self.network.forward_taps(*batch[:3])
        head = self.settings.network.head
        losses = detection_losses(head, class_logits.float(), boxes.float(), batch.targets)
        task = torch.stack(list(losses.values())).sum()
        terms = self.entropy_loss.terms(taps, step)
        terms = self.entropy_loss.balance(task, terms, self.network.stages.parameters(), step)
        total = torch.stack([task, *terms.values()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        update_average(self.averaged, self.network, self.settings.ema_decay, step)
        return {name: float(value.detach()) for name, value in {**losses, **terms}.items()}


class Judge:
    """Scores averaged weights on simulated and real scans, and reads their entropy profile."""

    def __init__(self, settings: TrainingSettings, num_frames: int, data: Path | None) -> None:
        self._grid = settings.grid.build()
        configs = {"simulated": ValidationConfig(num_frames=num_frames)}
        if data is not None:
            for split in ("train", "val"):
                configs[f"real {split}"] = ValidationConfig(data=data, split=split)
        self._validations = {
            name: Validation(config, settings.network, self._grid, settings.class_names, _CPU)
            for name, config in configs.items()
        }
        self._network = PillarNetwork(settings.network, self._grid.num_y, self._grid.num_x).eval()
        scans = SimulatedDataset(_NUM_PROFILE_SCANS, seed=1)
        self._pillars = [pillarize(scans.points(i), self._grid) for i in scans.ids]

    def judge(self, network: PillarNetwork) -> dict[str, Any]:
        """AP by data set and the mean entropy of each layer."""
        scores = {name: v.score(network) for name, v in self._validations.items()}
        return {"ap": scores, "profile": self.profile(network)}

    @torch.inference_mode()
    def profile(self, network: PillarNetwork) -> list[float]:
        """Mean over scans of each layer's entropy."""
        self._network.load_state_dict(network.state_dict())
        rows = [
            self._network(
                torch.from_numpy(p.points),
                torch.from_numpy(p.features),
                torch.from_numpy(p.cell_to_pillar)[None],
            ).layer_entropy[0].numpy()
            for p in self._pillars
        ]  # fmt: skip
        return [float(value) for value in np.mean(rows, axis=0)]


def run_seed(
    settings: TrainingSettings, judge: Judge, judge_every: int, variants: list[str], out: Path
) -> Iterator[dict[str, Any]]:
    """Trains one seed's networks side by side; yields a row per variant and judgement."""
    arms = {name: Arm(settings, VARIANTS[name]) for name in variants}
    start = time.monotonic()
    for name, arm in arms.items():
        first = {"ap": {}, "profile": judge.profile(arm.network)}
        yield {"seed": settings.seed, "variant": name, "step": 0, **first}
    recent: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    batches = tqdm(load_batches(settings), total=settings.steps, desc=f"seed {settings.seed}")
    for step, (batch,) in enumerate(batches, 1):
        check_interrupt()
        for name, arm in arms.items():
            recent[name].append(arm.step(step - 1, batch))
        if step % judge_every and step != settings.steps:
            continue
        for name, arm in arms.items():
            rows = recent[name]
            losses = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
            recent[name] = []
            yield {
                "seed": settings.seed,
                "variant": name,
                "step": step,
                "seconds": round(time.monotonic() - start),
                "losses": losses,
                "factor": arm.entropy_loss.factor,
                **judge.judge(arm.averaged),
            }
    for name, arm in arms.items():
        arm.save(out / f"seed_{settings.seed}_{name}", name)


def main() -> None:
    """Runs the seeds that are not done yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--data", type=Path, metavar="KITTI_ROOT", help="real frames to judge on")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--judge-every", type=int, default=200, metavar="STEPS")
    parser.add_argument("--frames", type=int, default=60, help="simulated scans to judge on")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        path = arguments.out / f"seed_{seed}.json"
        if path.exists():
            continue
        settings = TrainingSettings(seed=seed, steps=arguments.steps, ema_decay=0.99)
        judge = Judge(settings, arguments.frames, arguments.data)
        rows = []
        for row in run_seed(
            settings, judge, arguments.judge_every, arguments.variants, arguments.out
        ):
            rows.append(row)
            tqdm.write(json.dumps({k: v for k, v in row.items() if k != "profile"}))
        facts = {"steps": arguments.steps, "batch_size": settings.batch_size, "rows": rows}
        path.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
