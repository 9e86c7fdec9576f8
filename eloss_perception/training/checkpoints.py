# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: written whole or not at all, read without running code, compared before use."""

from __future__ import annotations

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from eloss_perception.errors import ConfigError, DataError
from eloss_perception.files import new_file
from eloss_perception.network.network import PillarNetwork
from eloss_perception.training.settings import TrainingSettings, parse_settings

CHECKPOINT_NAME = "checkpoint.pt"
CHECKPOINT_FORMAT = 2

# Settings that may change when a run is continued: they affect where and how fast it is computed,
# and what else is written, not what is learned (a device: up to rounding).
_FREE_SETTINGS = {
    "name", "output", "device", "num_workers", "num_threads", "compile", "checkpoint_every",
    "log_every", "profile_every", "tensorboard", "validation", "initial_weights",
}  # fmt: skip


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint so that a kill or a power cut leaves the old or the new one whole.

    Raises:
        DataError: If it cannot be written; the old one is whole.
    """
    try:
        with new_file(path) as file:
            torch.save({"format": CHECKPOINT_FORMAT, **state}, file)
    except (DataError, RuntimeError) as error:  # torch's writer may hide the disk's error
        kept = "; the previous one is kept, and the same command continues from it"
        raise DataError(
            f"cannot write a checkpoint: {str(error).splitlines()[0]}"
            f"{kept if path.exists() else ''}"
        ) from None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint without running any code from it.

    Returns:
        ``settings`` (JSON), ``step``, ``averaged`` (weights of the averaged network), and what a
        resumed run needs.

    Raises:
        DataError: If the file is missing, damaged or of another format.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, UnpicklingError) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"cannot read checkpoint {path}: {first_line}") from None
    if not isinstance(state, dict) or state.get("format") not in (1, CHECKPOINT_FORMAT):
        raise DataError(f"{path} is no checkpoint of format {CHECKPOINT_FORMAT}; train again")
    return _upgraded(state) if state["format"] == 1 else state


def earlier_runs(state: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs that a checkpoint's own run got its initial weights from, first one first."""
    return list(state.get("earlier_runs", []))


def run_of(state: dict[str, Any]) -> dict[str, Any]:
    """What tells a checkpoint's run from others: name, data, steps done, batch size, rate, seed."""
    settings = json.loads(state["settings"])
    names = ("name", "split", "lidar", "full_turn", "batch_size", "learning_rate", "seed")
    known = {name: settings[name] for name in names if name in settings}
    simulated = settings.get("data") is None
    return known | {"simulated": simulated, "step": int(state["step"])}


def load_network(path: Path) -> tuple[PillarNetwork, TrainingSettings]:
    """The averaged network of a checkpoint, in evaluation mode, and the settings it came from.

    Raises:
        DataError: If the checkpoint cannot be read.
        ConfigError: If its settings are not those of this version.
    """
    state = load_checkpoint(path)
    settings = parse_settings(state["settings"])
    grid = settings.grid.build()
    network = PillarNetwork(settings.network, grid.num_y, grid.num_x)
    load_weights(network, state["averaged"], path)
    return network.eval(), settings


def load_weights(network: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Puts a checkpoint's weights into a network.

    Raises:
        DataError: If they are those of a network of another shape.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise DataError(f"the weights in {path} fit another network: {first[0].strip()}") from None


def refuse_other_settings(state: dict[str, Any], settings: TrainingSettings, path: Path) -> None:
    """Compares a run's settings with those of the checkpoint that it would continue.

    Raises:
        ConfigError: Naming every setting that differs and would change what is learned.
        DataError: If the checkpoint is of an older version, whose optimiser state has changed.
    """
    if state["format"] != CHECKPOINT_FORMAT:
        raise DataError(f"{path} was written by an older version: export it or train anew")
    before = _flat(json.loads(state["settings"]))
    now = _flat(settings.model_dump(mode="json"))
    differences = [
        f"{key} = {now.get(key)!r} (checkpoint: {before.get(key)!r})"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key.split(".")[0] not in _FREE_SETTINGS
    ]
    if differences:
        raise ConfigError(
            f"{path} belongs to a run with other settings: {'; '.join(differences)}. Continue it "
            "with its own settings, or give this run another `name`"
        )


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's generators; the samples' are made anew from the seed for each sample."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_rng_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Restores the state of :func:`rng_state`, for the generators that this device has."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``section.key`` -> value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of format 1 with the weights only: enough to export and to fine-tune."""
    settings = json.loads(state["settings"])
    settings.get("entropy_loss", {}).pop("steadiness", None)
    if "bfloat16" in settings:
        settings["precision"] = "bfloat16" if settings.pop("bfloat16") else "float32"
    prefix = "module."
    averaged = {
        name[len(prefix) :]: value
        for name, value in state["averaged"].items()
        if name.startswith(prefix)
    }
    return state | {"settings": json.dumps(settings), "averaged": averaged}
