# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The shipped network and its health reference in the live node, on a simulated drive."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("rclpy")

from cloud_factory import xyzi_cloud
from node_harness import Harness, wait_for

from eloss_perception.health.monitor import HealthLevel
from eloss_perception.msg import EntropyHealth
from eloss_perception.runtime.backends.base import BackendSettings
from eloss_perception.runtime.bundle import Bundle, default_bundle_path
from eloss_perception.runtime.detector import Detector
from eloss_perception.simulation.corruptions import corrupt
from eloss_perception.simulation.drive import simulate_drive

OK, WARN, ERROR = HealthLevel.OK, HealthLevel.WARN, HealthLevel.ERROR
NUM_SCANS = 12
LEAD_IN = 6
MAX_FRAMES_TO_RECOVER = 10

Points = npt.NDArray[np.float32]


class Drive:
    """A short drive to and fro, through the node: no scan comes twice in a row."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self._scans = [frame.scan.points for frame in simulate_drive(11, NUM_SCANS)]
        self._index = 0

    def go(
        self, num_frames: int, change: Callable[[Points], Points] = lambda p: p
    ) -> list[EntropyHealth]:
        """Sends the next scans, changed; returns what the node said of them."""
        said = self.harness.received["output/entropy_health"]
        first = len(said)
        for count in range(first + 1, first + num_frames + 1):
            cloud = xyzi_cloud(change(self.next_scan()))
            self._index += 1
            self.harness.publish(cloud, stamp_ns=self._index)
            assert wait_for(lambda count=count: len(said) == count)
        return list(said[first:])

    def next_scan(self) -> Points:
        """The scan that comes next."""
        turn = self._index % (2 * NUM_SCANS - 2)
        return self._scans[min(turn, 2 * NUM_SCANS - 2 - turn)]

    def recover(self) -> int:
        """Sends clean scans until the level is OK; returns how many it took."""
        for count in range(1, MAX_FRAMES_TO_RECOVER + 1):
            (message,) = self.go(1)
            if message.level == EntropyHealth.OK:
                return count
        return MAX_FRAMES_TO_RECOVER + 1


@pytest.fixture(scope="module")
def street() -> Iterator[Drive]:
    detector = Detector(Bundle.load(default_bundle_path()), settings=BackendSettings(num_threads=1))
    detector.warm_up()
    harness = Harness(detector, stale_timeout=60.0, publish_gauge=False, publish_markers=False)
    harness.start()
    made = Drive(harness)
    assert set(levels(made.go(LEAD_IN))) == {OK}
    yield made
    harness.close()


@pytest.fixture
def drive(street: Drive) -> Drive:
    """The drive, with whatever a test before did to it forgotten."""
    street.recover()
    return street


def levels(messages: list[EntropyHealth]) -> list[int]:
    return [message.level[0] for message in messages]


@pytest.mark.parametrize(
    ("name", "causes"),
    [
        ("fog", {"fog"}),
        ("beam_missing", set()),  # one of the many things that it may be like
        ("wrong_frame", {"wrong_frame", "swapped_axes"}),  # both turn the world over
    ],
)
def test_a_severe_fault_is_an_error_within_three_frames_and_over_within_ten(
    drive: Drive, name: str, causes: set[str]
) -> None:
    faulty = drive.go(3, lambda points: corrupt(points, name, 5, seed=1))
    assert levels(faulty)[1] >= WARN
    assert levels(faulty)[2] == ERROR
    assert not causes or faulty[2].likely_cause in causes
    assert max(faulty[2].check_ratio) > 1.0
    assert drive.recover() <= MAX_FRAMES_TO_RECOVER


def test_a_repeated_scan_is_an_error(drive: Drive) -> None:
    stuck = drive.next_scan()
    repeated = drive.go(4, lambda points: stuck)
    assert repeated[0].level == EntropyHealth.OK  # nobody can know yet
    assert levels(repeated)[3] == ERROR  # the third frame that says nothing new
    assert repeated[3].likely_cause == "stale_scan"
    assert drive.recover() <= MAX_FRAMES_TO_RECOVER


def test_one_blinded_scan_raises_the_level_at_once(drive: Drive) -> None:
    (blinded,) = drive.go(1, lambda points: np.full_like(points, np.nan))
    assert blinded.level[0] >= WARN
    assert blinded.num_points == 0
    assert blinded.num_non_finite > 100_000
    assert drive.recover() <= MAX_FRAMES_TO_RECOVER


@pytest.mark.parametrize("name", ["rain", "gaussian_noise"])
def test_what_costs_nothing_stays_quiet(drive: Drive, name: str) -> None:
    seeds = iter(range(100))
    messages = drive.go(5, lambda points: corrupt(points, name, 1, seed=next(seeds)))
    assert set(levels(messages)) == {OK}
