# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The decorator of all compiled functions, and the folder that caches their machine code.

Compiling takes a minute, so numba keeps what it made for the next start. What it finds there it
runs: only a folder that nobody else can write to will do. The first of these that is one is taken:

* the one that ``NUMBA_CACHE_DIR`` names;
* ``__pycache__`` beside the source, numba's own choice;
* ``eloss_perception/numba`` in the user's cache folder, where the installation is read-only;
* ``eloss_perception-UID`` in the folder for temporary files, for users without a home.

Without any of them everything is compiled anew at each start, which a warning says once.
"""

from __future__ import annotations

import functools
import logging
import os
import stat
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba

_IN_TREE = ""  # numba looks beside the source then

_lock = threading.Lock()
_log = logging.getLogger(__name__)


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compiles a function without Python objects on its first call, with the GIL released.

    Args:
        function: What to compile; without it, a decorator with these options.
        options: As of ``numba.njit``.
    """
    if function is None:
        return functools.partial(njit, **options)
    compile_it = functools.partial(numba.njit, nogil=True, **options)
    with _lock:
        given = numba.config.CACHE_DIR
        folder = _cache_folder(Path(function.__code__.co_filename).parent, given)
        if folder is None:
            return compile_it()(function)
        numba.config.CACHE_DIR = folder  # read where a function is decorated
        try:
            return _forgiving(compile_it(cache=True)(function))
        except RuntimeError as error:  # the disk may be full
            _warn_once(f"machine code cannot be kept: {error}")
            return compile_it()(function)
        finally:
            numba.config.CACHE_DIR = given


@functools.cache
def _cache_folder(source: Path, given: str) -> str | None:
    """Where the machine code of a folder of sources is kept; None where it cannot be."""
    problems = []
    user = source.stat().st_uid  # whoever owns the source decides what runs in any case
    if given:
        if not (problem := _problem(Path(given), {user})):
            return given
        problems.append(f"NUMBA_CACHE_DIR {given} {problem}")
        _log.warning("%s: another folder is used", problems[-1])
    in_tree = source / "__pycache__"
    if not (problem := _problem(in_tree, {user})):
        return _IN_TREE
    problems.append(f"{in_tree} {problem}")
    for folder in _private_folders():
        if not (problem := _problem(folder, set(), is_private=True)):
            return str(folder)
        problems.append(f"{folder} {problem}")
    _warn_once(
        f"no folder to keep machine code in ({'; '.join(problems)}): each start compiles for a"
        " minute before its first scan. Set NUMBA_CACHE_DIR to a folder that only this user can"
        " write to"
    )
    return None


def _private_folders() -> list[Path]:
    folders = []
    base, home = os.environ.get("XDG_CACHE_HOME", ""), Path(os.path.expanduser("~"))
    if os.path.isabs(base) or home.is_dir():
        root = Path(base) if os.path.isabs(base) else home / ".cache"
        folders.append(root / "eloss_perception" / "numba")
    with suppress(OSError):  # no such folder either
        folders.append(Path(tempfile.gettempdir()) / f"eloss_perception-{os.geteuid()}")
    return folders


def _problem(folder: Path, owners: set[int], *, is_private: bool = False) -> str:
    """What keeps a folder, made where it is missing, from being used; "" for nothing.

    Args:
        folder: May be a link unless it has to be private.
        owners: Users that it may belong to besides this one and root.
        is_private: Nobody else may even look into it.
    """
    try:
        folder.mkdir(mode=0o700 if is_private else 0o755, parents=True, exist_ok=True)
        status = folder.lstat() if is_private else folder.stat()
    except OSError as error:
        return f"cannot be made ({error.strerror})"
    if not stat.S_ISDIR(status.st_mode):
        return "is a link"
    if status.st_uid not in {os.geteuid(), 0} | owners:
        return f"belongs to user {status.st_uid}"
    # A group of its own is what many systems give each user.
    others = stat.S_IWOTH if status.st_gid == os.getegid() else stat.S_IWOTH | stat.S_IWGRP
    if status.st_mode & (0o077 if is_private else others):
        return "can be written to by others" if not is_private else "is open to others"
    if not os.access(folder, os.W_OK | os.X_OK):
        return "cannot be written to"
    return ""


def _forgiving(compiled: Any) -> Any:
    """Makes a damaged cache (power cut, full disk) cost no more than compiling anew."""
    cache: Any = getattr(compiled, "_cache", None)
    if cache is None:  # numba was told not to compile
        return compiled

    def forgiving(call: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(*arguments: Any) -> Any:
            try:
                return call(*arguments)
            except Exception as error:  # a damaged pickle may raise anything
                _warn_once(f"machine code in {cache.cache_path} is made anew: {error!r}")
                with suppress(OSError):
                    cache.flush()
                return None

        return attempt

    cache.load_overload = forgiving(cache.load_overload)
    cache.save_overload = forgiving(cache.save_overload)
    return compiled


@functools.cache
def _warn_once(text: str) -> None:
    _log.warning("%s", text)
