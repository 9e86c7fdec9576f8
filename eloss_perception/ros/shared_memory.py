# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Removes shared memory that a killed process has left behind, before it fills /dev/shm.

Fast DDS gives each participant a segment, and holds a lock on the file beside it as long as the
process lives. `fastdds shm clean` goes by that lock as well; being the kernel's, it tells of
processes in other containers too.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from contextlib import suppress
from pathlib import Path

_SHARED_MEMORY = Path("/dev/shm")
_LOCK_FILE = re.compile(r"fast(rtps|dds)_[0-9a-f]{16}_el")
# A file is there a moment before its lock is.
_MIN_AGE_S = 10.0


def remove_orphans(folder: Path = _SHARED_MEMORY) -> int:
    """Removes this user's segments that no living process holds; returns how many."""
    num_removed = 0
    with suppress(OSError):  # no such folder, or not for us to read
        for entry in os.scandir(folder):
            if _LOCK_FILE.fullmatch(entry.name) is not None:
                with suppress(OSError):  # in use, gone meanwhile, or another user's
                    num_removed += _remove_if_orphaned(Path(entry.path))
    return num_removed


def _remove_if_orphaned(lock_file: Path) -> bool:
    handle = os.open(lock_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid() or time.time() - status.st_mtime < _MIN_AGE_S:
            return False
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock_file.with_name(lock_file.name.removesuffix("_el")).unlink(missing_ok=True)
        lock_file.unlink()
        return True
    finally:
        os.close(handle)
