# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What tests of whole programs share: waiting without a guess at how busy the machine is."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# After this long something hangs. A busy machine that has to compile the kernels takes a minute.
HANG_S = 300.0


def wait_for(condition: Callable[[], Any], timeout_s: float = HANG_S) -> bool:
    """Waits until a condition holds; returns whether it did in time."""
    give_up = time.monotonic() + timeout_s
    while time.monotonic() < give_up:
        if condition():
            return True
        time.sleep(0.005)
    return bool(condition())


def wait_until_heeded(process: subprocess.Popen[Any], number: int) -> None:
    """Returns once a Python program has a handler of its own for a signal."""

    def is_heeded() -> bool:
        assert process.poll() is None, process.communicate()
        status = Path(f"/proc/{process.pid}/status").read_text()
        masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
        # Python itself handles SIGINT from the start, but not SIGTERM; ours come together.
        return all(int(masks["SigCgt"], 16) & (1 << (n - 1)) for n in (number, 15))

    assert wait_for(is_heeded), "no handler was installed"


def is_running(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
