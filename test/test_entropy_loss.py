# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Entropy Loss: profiles of known value, its magnitude against the task loss, its state."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="Entropy Loss needs torch")

from pydantic import ValidationError  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from eloss_perception.health.entropy import eloss  # noqa: E402
from eloss_perception.network import entropy_loss as module  # noqa: E402
from eloss_perception.network.entropy_loss import EntropyLoss, EntropyLossConfig  # noqa: E402
from eloss_perception.network.entropy_readout import entropy_measure  # noqa: E402
from eloss_perception.network.network import Tap  # noqa: E402

STAGES = (0, 0, 0, 0, 1, 1, 1)


def taps_of(profiles: list[list[float]]) -> list[Tap]:
    """Taps whose map's first value is the entropy that `readable` gives; a row is a frame."""
    return [
        Tap(torch.tensor(layer)[:, None, None, None], torch.ones(len(layer), 1, 1, 1))
        for layer in zip(*profiles, strict=True)
    ]


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures that read the entropy off the map, so that a test can write profiles."""

    def read(features: Tensor, active: Tensor) -> Tensor:
        del active
        return features[:, 0, 0, 0]

    monkeypatch.setattr(module, "entropy_measure", lambda name: read)


def terms_of(profile: list[float], step: int = 0, **config: object) -> dict[str, float]:
    loss = EntropyLoss(EntropyLossConfig(**{"every": 1} | config), STAGES, num_steps=10)
    return {name: float(term) for name, term in loss.terms(taps_of([profile]), step).items()}


@pytest.mark.usefixtures("readable")
def test_a_steady_fall_costs_nothing() -> None:
    # Steps differ between the stages, and the entropy jumps up where the second one starts.
    terms = terms_of([0.9, 0.8, 0.7, 0.6, 0.9, 0.7, 0.5])
    assert terms == pytest.approx({"steadiness": 0.0, "direction": 0.0}, abs=1e-12)


@pytest.mark.usefixtures("readable")
def test_a_steady_rise_costs_direction_alone() -> None:
    """A uniform drift upwards, to which the published variance is blind."""
    terms = terms_of([0.6, 0.7, 0.8, 0.9, 0.5, 0.7, 0.9])
    assert terms["steadiness"] == pytest.approx(0.0, abs=1e-12)
    assert terms["direction"] == pytest.approx((0.1**2 + 0.2**2) / 2)
    assert terms_of([0.6, 0.7, 0.8, 0.9, 0.5, 0.7, 0.9], direction=3.0)[
        "direction"
    ] == pytest.approx(3 * (0.1**2 + 0.2**2) / 2)


@pytest.mark.usefixtures("readable")
def test_an_unsteady_fall_costs_its_variance() -> None:
    terms = terms_of([0.9, 0.85, 0.65, 0.6, 0.9, 0.7, 0.5])
    assert terms["direction"] == 0.0
    assert terms["steadiness"] == pytest.approx(np.var([0.05, 0.2, 0.05], ddof=1) / 2, rel=1e-4)


@pytest.mark.usefixtures("readable")
def test_the_published_variant_is_the_variance_over_the_first_stage() -> None:
    profile = [0.9, 0.85, 0.65, 0.7, 0.9, 0.1, 0.5]
    terms = terms_of(profile, variant="published")
    assert list(terms) == ["steadiness"]
    assert terms["steadiness"] == pytest.approx(eloss(np.array(profile[:4]), STAGES[:4]))
    both = terms_of(profile, variant="published", published_stages=(0, 1))
    last = eloss(np.array(profile[4:]), STAGES[4:])
    assert both["steadiness"] == pytest.approx((terms["steadiness"] + last) / 2)


def test_the_published_variant_takes_the_published_measure() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand((2, 24, 6, 6), generator=generator) * (i + 1) for i in range(4)]
    taps = [Tap(bev, torch.zeros(2, 1, 6, 6)) for bev in maps]
    loss = EntropyLoss(EntropyLossConfig(variant="published"), (0, 0, 0, 0), num_steps=10)
    terms = loss.terms(taps, step=1)
    entropy = [float(entropy_measure("reference")(bev[1:2], bev[1:2])) for bev in maps]
    assert float(terms["steadiness"]) == pytest.approx(np.var(np.diff(entropy), ddof=1), rel=1e-5)
    # Weight 1 from the first step on.
    assert loss.balance(torch.tensor(5.0), terms, [], step=0) == terms


def test_off_and_too_few_layers_have_no_terms() -> None:
    taps = taps_of([[0.5] * 7])
    off = EntropyLoss(EntropyLossConfig(variant="off"), STAGES, num_steps=10)
    assert off.terms(taps, 0) == {}
    assert off.balance(torch.tensor(1.0), {}, [], 0) == {}
    short = EntropyLoss(EntropyLossConfig(), (0, 0, 1, 1), num_steps=10)
    assert short.terms(taps[:4], 0) == {}


@pytest.mark.usefixtures("readable")
def test_frames_take_turns() -> None:
    flat, rising = [0.5] * 7, [0.6, 0.7, 0.8, 0.9, 0.5, 0.7, 0.9]
    loss = EntropyLoss(EntropyLossConfig(every=1), STAGES, num_steps=10)
    seen = [float(loss.terms(taps_of([flat, rising]), step)["direction"]) for step in range(4)]
    assert seen == pytest.approx([0.0, 0.025, 0.0, 0.025])


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("every", [1, 2])
def test_processes_together_measure_what_one_does(every: int, step: int) -> None:
    """A batch dealt out by turns; gradients, and so terms, are averaged over the processes."""
    profiles = np.random.default_rng(1).random((4, 7)).tolist()
    alone = EntropyLoss(EntropyLossConfig(every=every), STAGES, num_steps=10)
    expected = alone.terms(taps_of(profiles), step)
    shared = []
    for rank in range(2):
        config = EntropyLossConfig(every=every)
        loss = EntropyLoss(config, STAGES, num_steps=10, rank=rank, world_size=2)
        taps = taps_of(profiles[rank::2])
        for tap in taps:
            tap.bev.requires_grad_()
        shared.append(loss.terms(taps, step))
        # A process without the frame still joins the backward pass.
        assert shared[-1]["steadiness"].requires_grad
    for name, value in expected.items():
        mean = (shared[0][name].item() + shared[1][name].item()) / 2
        assert mean == pytest.approx(float(value), rel=1e-5)


class Toy(nn.Module):
    """Four tapped layers and a task."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.ModuleList(
            nn.Conv2d(4 if i == 0 else 8, 8, 3, padding=1) for i in range(4)
        )

    def forward(self, bev: Tensor) -> tuple[Tensor, list[Tap]]:
        taps = []
        for layer in self.layers:
            bev = layer(bev).relu()
            taps.append(Tap(bev, torch.ones_like(bev[:, :1])))
        return 3.0 * (bev.mean(dim=1) - 1.0).square().mean(), taps


def batch(step: int) -> Tensor:
    return torch.rand((2, 4, 8, 8), generator=torch.Generator().manual_seed(100 + step))


def norm(loss: Tensor, parameters: list[Tensor]) -> float:
    found = torch.autograd.grad(loss, parameters, retain_graph=True)
    return math.sqrt(sum(float(g.square().sum()) for g in found))


def run(
    loss: EntropyLoss,
    toy: Toy,
    steps: range,
    each: Callable[..., None] = lambda *_: None,
    learning_rate: float = 0.01,
) -> list[float]:
    parameters = list(toy.layers.parameters())
    optimizer = torch.optim.SGD(parameters, learning_rate)
    totals = []
    for step in steps:
        task, taps = toy(batch(step))
        terms = loss.balance(task, loss.terms(taps, step), parameters, step)
        each(step, task, terms, parameters)
        total = task + sum(terms.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    return totals


def test_the_gradient_is_held_at_the_stated_ratio() -> None:
    config = EntropyLossConfig(ratio=0.25, ramp=0.5, every=1, measure_every=2, max_factor=1e9)
    loss, quotients = EntropyLoss(config, (0, 0, 0, 0), num_steps=40), []

    def note(step: int, task: Tensor, terms: dict[str, Tensor], parameters: list[Tensor]) -> None:
        ramp = min(1.0, (step + 1) / 20)
        entropy = norm(torch.stack(list(terms.values())).sum(), parameters)
        quotients.append(entropy / norm(task, parameters) / ramp)

    # Slow enough for the smoothed factor to follow, as it is in a run of thousands of steps.
    run(loss, Toy(), range(40), note, learning_rate=1e-4)
    # The first measurement is of this very step's batch; later ones are smoothed over batches.
    assert quotients[0] == pytest.approx(0.25, rel=1e-4)
    assert math.exp(np.mean(np.log(quotients[20:]))) == pytest.approx(0.25, rel=0.1)


def test_terms_of_every_other_step_weigh_twice() -> None:
    """The mean over steps is what it would be with terms in every step."""
    config = EntropyLossConfig(ratio=0.25, ramp=0.0, every=2, measure_every=2, max_factor=1e9)
    loss, quotients = EntropyLoss(config, (0, 0, 0, 0), num_steps=40), []

    def note(step: int, task: Tensor, terms: dict[str, Tensor], parameters: list[Tensor]) -> None:
        total = torch.stack(list(terms.values())).sum()
        entropy = norm(total, parameters) if step % 2 == 0 else float(total.detach())
        quotients.append(entropy / norm(task, parameters))

    run(loss, Toy(), range(4), note)
    assert quotients[0] == pytest.approx(2 * 0.25, rel=1e-4)
    assert quotients[1] == quotients[3] == 0.0
    with pytest.raises(ValidationError, match="measure_every = 3 is no multiple of every = 2"):
        EntropyLossConfig(every=2, measure_every=3)


def test_the_factor_is_limited() -> None:
    loss = EntropyLoss(EntropyLossConfig(ratio=1e6, max_factor=7.0), (0, 0, 0, 0), num_steps=10)
    run(loss, Toy(), range(1))
    assert loss.factor == 7.0


def test_a_frame_that_says_nothing_leaves_the_factor() -> None:
    loss, toy = EntropyLoss(EntropyLossConfig(), (0, 0, 0, 0), num_steps=10), Toy()
    parameters = list(toy.layers.parameters())
    task, taps = toy(batch(0))
    silent = [Tap(tap.bev, torch.zeros_like(tap.active)) for tap in taps]
    terms = loss.balance(task, loss.terms(silent, 0), parameters, 0)
    assert loss.factor == 0.0 and all(term.item() == 0.0 for term in terms.values())


def test_a_resumed_run_is_the_uninterrupted_one() -> None:
    config = EntropyLossConfig(every=1, measure_every=3)
    whole = run(EntropyLoss(config, (0, 0, 0, 0), num_steps=12), Toy(), range(12))
    first, toy = EntropyLoss(config, (0, 0, 0, 0), num_steps=12), Toy()
    start = run(first, toy, range(7))
    second = EntropyLoss(config, (0, 0, 0, 0), num_steps=12)
    second.load_state_dict(first.state_dict())
    assert second.factor == first.factor > 0.0
    assert start + run(second, toy, range(7, 12)) == whole


def test_training_on_it_makes_the_profile_steady_and_falling() -> None:
    config = EntropyLossConfig(ratio=3.0, ramp=0.0, every=1, measure_every=5, max_factor=1e9)
    loss, toy = EntropyLoss(config, (0, 0, 0, 0), num_steps=60), Toy()

    def cost() -> float:
        return sum(float(term.detach()) for term in loss.terms(toy(batch(999))[1], 0).values())

    before = cost()
    run(loss, toy, range(60))
    assert cost() < 0.3 * before
