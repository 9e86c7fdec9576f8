# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Signals as a flag: noted wherever they strike, raised where a loop looks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from processes import HANG_S, is_running, wait_for

from eloss_perception.interrupts import StopSignal, check_interrupt, pause

NUMBERS = [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_is_noted_and_raised_where_a_loop_looks(number: int) -> None:
    before = signal.getsignal(number)
    with StopSignal() as stop:
        check_interrupt()
        os.kill(os.getpid(), number)
        assert stop.is_set
        assert stop.number == number
        for _ in range(2):  # one that is swallowed is raised again
            with pytest.raises(KeyboardInterrupt):
                check_interrupt()
    assert signal.getsignal(number) is before
    check_interrupt()


def test_inside_and_outside_share_a_signal() -> None:
    with StopSignal() as outer:
        with StopSignal() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner.is_set
        assert outer.number == signal.SIGTERM
        with StopSignal() as later, pytest.raises(KeyboardInterrupt):
            later.raise_if_set()


def test_the_first_signal_counts() -> None:
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.number == signal.SIGTERM


def test_other_threads_catch_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[bool] = []

    def enter() -> None:
        with StopSignal() as stop:
            seen.append(stop.is_set)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(HANG_S)
    assert seen == [False]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_pause_ends_with_a_signal() -> None:
    with StopSignal():
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            pause(HANG_S)


def test_the_thread_and_its_pipe_are_gone_afterwards() -> None:
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        with StopSignal(), StopSignal():
            pass
    assert len(os.listdir("/proc/self/fd")) == files
    assert threading.active_count() == threads


def in_a_process(
    code: str, *signals: int, apart_s: float = 0.0
) -> subprocess.CompletedProcess[str]:
    """Runs a program and signals it once it has said that it is ready."""
    program = "import ctypes, os, sys, time\nfrom eloss_perception import interrupts\n" + code
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        # Not through the stream, whose buffer `communicate` does not know.
        said = b"".join(iter(lambda: os.read(process.stdout.fileno(), 1), b"\n"))
        assert said == b"ready"
        for number in signals:
            process.send_signal(number)
            time.sleep(apart_s)
        out, err = process.communicate(timeout=HANG_S)
    return subprocess.CompletedProcess(program, process.returncode, out, err)


# The main thread in compiled code, where Python runs no handler. (ctypes lets other threads run.)
IN_COMPILED_CODE = (
    "with interrupts.StopSignal(limit_s={limit_s}):\n"
    "    print('ready', flush=True)\n"
    "    end = time.monotonic() + 100\n"
    "    while time.monotonic() < end: ctypes.CDLL(None).pause() or ctypes.CDLL(None).sleep(100)\n"
)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_flag_that_nothing_looks_at_ends_the_process(number: int) -> None:
    done = in_a_process(IN_COMPILED_CODE.format(limit_s=0.2), number)
    assert done.returncode == 128 + number
    assert done.stderr == "\nstopped at once\n"


def test_a_second_signal_ends_the_process_at_once() -> None:
    done = in_a_process(
        IN_COMPILED_CODE.format(limit_s=None), signal.SIGINT, signal.SIGINT, apart_s=1.2
    )
    assert done.returncode == 130
    assert done.stderr == "\nstopped at once\n"


def test_one_ctrl_c_that_comes_twice_is_one() -> None:
    code = (
        "with interrupts.StopSignal():\n"
        "    print('ready', flush=True)\n"
        "    try: interrupts.pause(100)\n"
        "    except KeyboardInterrupt: print('in order')\n"
    )
    done = in_a_process(code, signal.SIGINT, signal.SIGINT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "in order\n", "")


def test_a_flag_that_was_seen_leaves_time_to_tidy_up() -> None:
    code = (
        "with interrupts.StopSignal(limit_s=2.0):\n"
        "    print('ready', flush=True)\n"
        "    try: interrupts.pause(100)\n"
        "    except KeyboardInterrupt: time.sleep(2.5); print('tidy')\n"
    )
    done = in_a_process(code, signal.SIGINT)
    assert (done.returncode, done.stdout) == (0, "tidy\n")


def test_a_forked_process_is_not_its_parents_to_stop() -> None:
    code = (
        "with interrupts.StopSignal() as stop:\n"
        "    child = os.fork()\n"
        "    if child == 0: time.sleep(100)\n"
        "    os.kill(child, 15)\n"
        "    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(0.2)\n"
        "    print(ended, stop.is_set)\n"
    )
    assert in_a_process(code).stdout == "-15 False\n"


def test_a_worker_ignores_signals_and_ends_with_its_parent() -> None:
    code = (
        "reader, writer = os.pipe()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    interrupts.leave_to_parent()\n"
        "    os.write(writer, b'x')\n"
        "    time.sleep(100)\n"
        "    os._exit(0)\n"
        "os.read(reader, 1)\n"
        "os.kill(child, 2); os.kill(child, 15)\n"
        "print('ready', flush=True)\n"
        "print(child, os.waitpid(child, os.WNOHANG)[0], flush=True)\n"
        "os._exit(0)\n"
    )
    child, ended = in_a_process(code).stdout.split()
    assert ended == "0"
    assert wait_for(lambda: not is_running(int(child)))
