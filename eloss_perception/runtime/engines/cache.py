# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The engine cache: a folder of engines, each with a header that says what it was built for.

An entry is used only if its header is the one asked for and its content has the stated checksum; a
truncated, foreign or outdated one is rebuilt and never given to TensorRT. Entries are written
atomically. The folder may be deleted at any time.

An engine is code, and the checksum protects against accidents, not against people. So the folder
and its entries must belong to this user or root and be writable by nobody else; otherwise nothing
is read or stored there. Links are not followed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eloss_perception.errors import BackendError
from eloss_perception.files import opened, read_up_to
from eloss_perception.runtime.engines.build import WORKSPACE_BYTES, BuiltEngine, PillarProfile
from eloss_perception.runtime.engines.locking import held_lock

_LOG = logging.getLogger(__name__)

# First line of an entry; the number is the version of the format.
_MAGIC = b"eloss_perception engine 1\n"
_HEADER_LIMIT = 65536
# Ours have 5 to 40 MB.
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class EngineKey:
    """What an engine is built for; if any of this differs, another one is built.

    Attributes:
        onnx_sha256: Of the network; its precision is in the file.
        runtime: Which product built it: the module's name.
        version: That product's version, in full.
        device_name: The GPU; engines are tuned to it.
        compute_capability: ``sm_87``.
        profile: Numbers of pillars.
        precision: How types are chosen.
        workspace_bytes: Scratch memory that the build was allowed.
    """

    onnx_sha256: str
    runtime: str
    version: str
    device_name: str
    compute_capability: str
    profile: PillarProfile
    precision: str = "strongly typed, without TF32"
    workspace_bytes: int = WORKSPACE_BYTES

    @property
    def file_name(self) -> str:
        """The entry's file name: the start of the network's checksum, and that of the key."""
        text = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"{self.onnx_sha256[:12]}-{digest[:16]}.engine"


def default_cache_dir() -> Path:
    """Returns the user's cache folder (XDG Base Directory Specification).

    Raises:
        BackendError: If the user has none.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    except RuntimeError:
        raise BackendError("this user has no home folder: set `engine_cache`") from None
    return root / "eloss_perception" / "engines"


@contextmanager
def private_folder(path: Path, make: bool = True) -> Iterator[int]:
    """Context manager: the descriptor of a folder that nobody else may write to.

    Args:
        path: The folder.
        make: Create it and missing folders above it, for this user alone.

    Raises:
        OSError: If there is none, or others may write to it.
    """
    if make:
        for folder in (*reversed(path.parents), path):
            with suppress(FileExistsError):
                folder.mkdir(0o700)
    folder_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _refuse_foreign(os.fstat(folder_fd), path)
        yield folder_fd
    finally:
        os.close(folder_fd)


def _refuse_foreign(found: os.stat_result, path: Path) -> None:
    """Raises PermissionError if another user except root owns or may change it."""
    if found.st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, f"it belongs to user {found.st_uid}", str(path))
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            errno.EPERM, "other users may write to it (`chmod go-w` ends that)", str(path)
        )


class EngineCache:
    """Engines in a folder; anything wrong with it is logged, and the engine rebuilt."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder if folder is not None else default_cache_dir()
        if folder is None:
            with suppress(OSError):  # versions before 0.5 created it with the umask's mode
                self.folder.chmod(0o700)
        self._reported: set[str] = set()

    def path(self, key: EngineKey) -> Path:
        """Returns where the engine for a key is or will be."""
        return self.folder / key.file_name

    def load(self, key: EngineKey) -> BuiltEngine | None:
        """Returns the engine for a key; ``None`` if there is no usable one."""
        path = self.path(key)
        try:
            with (
                private_folder(self.folder, make=False) as folder,
                opened(path.name, os.O_RDONLY | os.O_NOFOLLOW, folder) as file,
            ):
                _refuse_foreign(os.fstat(file), path)
                content = read_up_to(file, path, _MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._report(f"the engine cache is not used: {error}")
            return None
        try:
            return _unpack(content, key)
        except ValueError as error:
            self._report(f"{path} is not used: {error}; the engine is built again")
            return None

    def _report(self, text: str) -> None:
        """Warns once: an entry is read before and after waiting for the lock."""
        if text not in self._reported:
            self._reported.add(text)
            _LOG.warning(text)

    def store(self, key: EngineKey, engine: BuiltEngine) -> Path | None:
        """Stores an engine and returns its path; ``None``, and a warning, if that fails."""
        path = self.path(key)
        partial = f"{path.name}.{secrets.token_hex(8)}.partial"
        try:
            with private_folder(self.folder) as folder:
                try:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                    with opened(partial, flags, folder) as descriptor:
                        with open(descriptor, "wb", closefd=False) as file:
                            file.write(_pack(key, engine))
                        # Otherwise a power cut could leave half a file under the final name.
                        os.fsync(descriptor)
                    os.replace(partial, path.name, src_dir_fd=folder, dst_dir_fd=folder)
                except OSError:
                    with suppress(OSError):
                        os.unlink(partial, dir_fd=folder)
                    raise
        except OSError as error:
            _LOG.warning("cannot keep the engine, so each start builds it again: %s", error)
            return None
        return path

    def discard(self, key: EngineKey) -> None:
        """Removes an entry that turned out to be unusable."""
        try:
            with private_folder(self.folder, make=False) as folder:
                os.unlink(key.file_name, dir_fd=folder)
        except OSError as error:
            _LOG.warning("cannot remove %s: %s", self.path(key), error)

    @contextmanager
    def building(self, key: EngineKey, waiting: Callable[[], None]) -> Iterator[None]:
        """Context manager: keeps other processes from building the same engine, if possible.

        Args:
            key: Key of the engine.
            waiting: Called repeatedly while another process builds it.
        """
        path = self.path(key)
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(private_folder(self.folder))
            except OSError as error:
                _LOG.debug("no lock: %s", error)
            else:
                lock = held_lock(path.with_name(path.name + ".lock"), waiting, dir_fd=folder)
                if stack.enter_context(lock):
                    _sweep(path, folder)
            yield


def _sweep(path: Path, folder: int) -> None:
    """Removes partial files of builders that were killed; the lock is held."""
    for name in os.listdir(folder):
        if name.startswith(f"{path.name}.") and name.endswith(".partial"):
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)


def _header(key: EngineKey, engine: BuiltEngine) -> dict[str, Any]:
    return {
        "key": asdict(key),
        "precision": engine.precision,
        "plan_bytes": len(engine.plan),
        "plan_sha256": hashlib.sha256(engine.plan).hexdigest(),
    }


def _pack(key: EngineKey, engine: BuiltEngine) -> bytes:
    header = json.dumps(_header(key, engine), sort_keys=True).encode()
    return _MAGIC + header + b"\n" + engine.plan


def _unpack(content: bytes, key: EngineKey) -> BuiltEngine:
    """Returns the engine of an entry.

    Raises:
        ValueError: If the entry is not one for this key, or not whole.
    """
    if not content.startswith(_MAGIC):
        raise ValueError("it is no engine of this package, or one of another format")
    end = content.find(b"\n", len(_MAGIC), len(_MAGIC) + _HEADER_LIMIT)
    if end < 0:
        raise ValueError("its header is cut off")
    plan = content[end + 1 :]
    try:
        header = json.loads(content[len(_MAGIC) : end])
        engine = BuiltEngine(plan, str(header["precision"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("its header is damaged") from None
    expected = _header(key, engine)
    if header.get("key") != expected["key"]:
        raise ValueError("it was built for something else")
    if header != expected:
        raise ValueError(f"it is truncated or damaged ({len(plan)} bytes)")
    return engine
