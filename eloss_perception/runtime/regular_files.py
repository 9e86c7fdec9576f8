# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files read in bounded time and memory, whoever put them there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def opened(path: Path | str, flags: int = os.O_RDONLY, dir_fd: int | None = None) -> Iterator[int]:
    """Opens a regular file for the length of the context; a FIFO or a device is not waited for.

    Yields:
        The file's descriptor.

    Raises:
        OSError: If it cannot be opened, or is anything else.
    """
    file = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        yield file
    finally:
        os.close(file)


def read_up_to(file: int, path: Path | str, max_bytes: int) -> bytes:
    """Reads an open file whole.

    Raises:
        OSError: If that fails, or the file is larger than ``max_bytes``.
    """
    with open(file, "rb", closefd=False) as stream:
        content = b""
        if os.fstat(file).st_size <= max_bytes:
            content = stream.read(max_bytes + 1)  # it may have grown since
            if len(content) <= max_bytes:
                return content
    raise OSError(errno.EFBIG, f"it is larger than {max_bytes / 1e6:g} MB", str(path))
