# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Atomic writes of files and folders, and reads in bounded time and memory.

What is written appears whole or not at all: it is written under another name beside the final one,
which it takes at the end. Whatever the disk refuses is one :class:`DataError` that names the file.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from eloss_perception.errors import DataError

# A file with this ending was being written when its process was killed; it may be deleted.
PARTIAL_SUFFIX = ".partial"


def write_file(path: Path, content: bytes | str) -> None:
    """Writes a file, and its folder where that is missing.

    Args:
        path: The file; one that exists is replaced. A device or a pipe is written to directly.
        content: All of it; text is written as UTF-8.

    Raises:
        DataError: If it cannot be written; a file that existed is as it was.
    """
    with new_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Context manager: a file to write to, which takes its name at the end; see `write_file`.

    Processes may write the same file at the same time; the last one wins.
    """
    final = Path(os.path.realpath(path))  # a link stays one
    partial = _partial(final)
    try:
        if final.exists() and not final.is_file() and not final.is_dir():
            partial = final  # such as /dev/null or a pipe
        final.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
            file.flush()
            if partial != final:
                # Some disks report only now that they are full; and a power cut must not leave an
                # empty file under the name.
                os.fsync(file.fileno())
        if partial != final:
            partial.replace(final)
    except OSError as error:
        raise _explained(error, path, final, partial) from error
    finally:
        if partial != final:
            _remove(partial)


@contextmanager
def new_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Context manager: a folder to fill, which takes its name at the end.

    Args:
        path: The folder; an empty one may exist.
        overwrite: Replace what exists under the name.

    Raises:
        DataError: If it cannot be written, or something exists under the name; that is as it was.
    """
    final = Path(os.path.realpath(path))
    partial, replaced = _partial(final), _partial(final)
    try:
        if final.exists() and not overwrite and not _is_empty_folder(final):
            raise DataError(f"{path} exists; choose another name or remove it")
        partial.mkdir(parents=True)
        yield partial
        if final.exists():
            final.replace(replaced)
        partial.replace(final)
    except OSError as error:
        if replaced.exists() and not final.exists():
            replaced.replace(final)
        raise _explained(error, path, final, partial) from error
    finally:
        _remove(partial)
        _remove(replaced)


@contextmanager
def opened(path: Path | str, flags: int = os.O_RDONLY, dir_fd: int | None = None) -> Iterator[int]:
    """Context manager: the descriptor of a regular file; does not wait for a FIFO or a device.

    Raises:
        OSError: If it cannot be opened, or is not a regular file.
    """
    file = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        yield file
    finally:
        os.close(file)


def read_up_to(file: int, path: Path | str, max_bytes: int) -> bytes:
    """Returns the content of an open file.

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


def _partial(path: Path) -> Path:
    # Hidden, and with an ending that nothing looks for; a name has 255 bytes at most.
    return path.parent / f".{path.name[:40]}.{secrets.token_hex(6)}{PARTIAL_SUFFIX}"


def _explained(error: OSError, path: Path, final: Path, partial: Path) -> Exception:
    """Returns the error to raise: the original one if it is about some other file."""
    if isinstance(error.filename, str):
        named = Path(error.filename)
        if not (final.is_relative_to(named) or named.is_relative_to(partial)):
            return error
    reason = error.strerror or str(error)
    if isinstance(error, FileExistsError):  # where a folder was to be made
        reason = f"{error.filename} is not a folder"
    return DataError(f"{path}: cannot write: {reason}")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # a disk that became read-only has been reported already
            path.unlink(missing_ok=True)
