# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""An advisory lock between processes: without it, work is done twice, but not wrongly."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from eloss_perception.files import opened

_LOG = logging.getLogger(__name__)

_POLL_S = 0.2
# Longer than any build takes. The kernel releases the lock of a process that dies; this is for one
# that hangs.
_PATIENCE_S = 900.0


@contextmanager
def held_lock(
    path: Path,
    waiting: Callable[[], None],
    patience_s: float = _PATIENCE_S,
    dir_fd: int | None = None,
) -> Iterator[bool]:
    """Holds a lock file's lock (``flock``) while the context lasts.

    Args:
        path: The lock file; it stays, because removing it would let two hold it.
        waiting: Called on every attempt that finds the lock taken.
        patience_s: Time after which it goes on without the lock [s].
        dir_fd: Descriptor of its folder, if that has been checked.

    Yields:
        Whether the lock is held; it is not in a folder that is not writable, on a file system
        without locks, and after ``patience_s``.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    with ExitStack() as stack:  # closes the file, which releases the lock
        try:
            file = stack.enter_context(opened(path if dir_fd is None else path.name, flags, dir_fd))
        except OSError as error:
            _LOG.debug("no lock at %s: %s", path, error)
            yield False
            return
        yield _acquire(file, path, waiting, patience_s)


def _acquire(file: int, path: Path, waiting: Callable[[], None], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    has_waited = False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EINTR):
                _LOG.debug("no locks at %s: %s", path, error)
                return False
        if time.monotonic() >= deadline:
            _LOG.warning(
                "another process has held %s for %.0f s, too long; going on without it",
                path,
                patience_s,
            )
            return False
        if not has_waited:
            has_waited = True
            _LOG.info(
                "another process holds %s: waiting for it for at most %.0f s", path, patience_s
            )
        waiting()
        time.sleep(_POLL_S)
