# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive the one that started them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from eloss_perception.errors import ElossError
from eloss_perception.interrupts import end_with_parent

_TAIL_LINES = 8
_LOG_LINE_PREFIXES = ("[INFO]",)

# Those above need UDP ports that Linux gives to anybody.
_NUM_DOMAINS = 100


class ReservedDomain:
    """A ROS domain of this process's own, kept until it is released or the process ends.

    Whoever shares a domain hears the others' scans and answers their service calls. Domain 0, where
    robots are, is never taken.

    Attributes:
        number: Of the domain.

    Raises:
        ProcessError: All domains are in use.
    """

    def __init__(self) -> None:
        start = os.getpid()
        for domain in (1 + (start + i) % _NUM_DOMAINS for i in range(_NUM_DOMAINS)):
            # A name that holds for all users and goes with the process, however that ends.
            name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                name.bind(f"\0eloss_perception/domain/{domain}")
                # Where participants listen: all of them, and each of the first ten.
                for offset in (0, *range(10, 30, 2)):
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
                        port.bind(("", 7400 + 250 * domain + offset))
            except OSError:
                name.close()
                continue
            self.number, self._name = domain, name
            return
        raise ProcessError(f"all ROS domains from 1 to {_NUM_DOMAINS} are in use on this machine")

    def release(self) -> None:
        """Lets others have the domain."""
        self._name.close()


_kept: list[ReservedDomain] = []


def reserve_domain() -> int:
    """Returns the number of a ROS domain of this process's own, kept until the process ends."""
    _kept.append(ReservedDomain())
    return _kept[-1].number


class ProcessError(ElossError):
    """A child process failed; the text ends with what it said last."""


class Child:
    """A running program whose output goes to a log file.

    Args:
        name: For messages.
        command: Program and arguments.
        log: File for standard output and standard error.
        environment: Variables on top of this process's own.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                # Ctrl-C in the terminal is for the parent, which stops its children in order.
                start_new_session=True,
                # Should the parent be killed outright, the kernel stops the child.
                preexec_fn=end_with_parent,
            )

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    @property
    def return_code(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raises `ProcessError` if the process has ended with an error."""
        if self.return_code not in (None, 0):
            raise ProcessError(self.describe_failure())

    def describe_failure(self) -> str:
        """One line: how it ended and what it said last."""
        code = self.return_code
        ending = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
        lines = self.log.read_text(errors="replace").splitlines()
        telling = [line for line in lines if line and not line.startswith(_LOG_LINE_PREFIXES)]
        last = " | ".join(telling[-_TAIL_LINES:]) or "it said nothing"
        return f"the {self.name} ended with {ending}: {last} (all of it: {self.log})"

    def stop(self, number: int = signal.SIGINT, timeout_s: float = 5.0) -> int:
        """Asks the process to end, kills it after the timeout, reaps it; returns its status."""
        if self.return_code is None:
            self._process.send_signal(number)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()


class ChildProcesses:
    """Context manager: whatever is started in it is stopped and reaped at its end.

    Args:
        log_folder: Where each child's output goes, as `<name>.log`.
        environment: Variables for all children.
    """

    def __init__(self, log_folder: Path, environment: Mapping[str, str]) -> None:
        self._log_folder = log_folder
        self._environment = dict(environment)
        self._children: list[Child] = []

    def __enter__(self) -> ChildProcesses:
        self._log_folder.mkdir(parents=True, exist_ok=True)
        return self

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Starts a program."""
        child = Child(name, command, self._log_folder / f"{name}.log", self._environment)
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raises `ProcessError` if any child has ended with an error."""
        for child in self._children:
            child.check()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # All are asked first: together they take as long as the slowest, not as the sum.
        for child in self._children:
            if child.return_code is None:
                child._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 4.0
        for child in self._children:
            child.stop(signal.SIGTERM, max(0.1, deadline - time.monotonic()))
