# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files and folders that appear whole or not at all, whatever ends the writing.

They are written under another name beside the final one, which they take at the end. What the disk
refuses is one :class:`DataError` that names the file asked for.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from eloss_perception.errors import DataError

# What is left under such a name was being written when a process was killed; it may be deleted.
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
                # Only now do some disks say that they are full; and a power cut must not leave the
                # name on an empty file.
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


def _partial(path: Path) -> Path:
    # Hidden, and of another ending than any that is looked for; a name has 255 bytes at most.
    return path.parent / f".{path.name[:40]}.{secrets.token_hex(6)}{PARTIAL_SUFFIX}"


def _explained(error: OSError, path: Path, final: Path, partial: Path) -> Exception:
    """What to raise: an error about some other file is not this writer's to explain."""
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
        with suppress(OSError):  # of a disk that became read-only: enough was said of it
            path.unlink(missing_ok=True)
