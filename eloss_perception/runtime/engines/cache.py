# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The engine cache: a folder of files, each an engine with a header that says what it is for.

An entry is used only if its header is the one asked for and its content has the stated checksum; a
file that is truncated, foreign or out of date is built anew and never given to TensorRT. Entries
appear whole or not at all. The folder may be deleted at any time. It has to be one that only its
owner writes to: an engine is code, and the checksum guards against accidents, not against people.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eloss_perception.errors import BackendError
from eloss_perception.runtime.engines.build import WORKSPACE_BYTES, BuiltEngine, PillarProfile
from eloss_perception.runtime.engines.locking import held_lock

_LOG = logging.getLogger(__name__)

# First line of an entry; the number is the version of the format.
_MAGIC = b"eloss_perception engine 1\n"
_HEADER_LIMIT = 65536


@dataclass(frozen=True)
class EngineKey:
    """What an engine is for: where any of this differs, another one is built.

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
        """The entry's name: the network's checksum, so that people can tell, and that of all."""
        text = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"{self.onnx_sha256[:12]}-{digest[:16]}.engine"


def default_cache_dir() -> Path:
    """The user's cache folder (XDG Base Directory Specification).

    Raises:
        BackendError: If the user has none.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    except RuntimeError:
        raise BackendError("this user has no home folder: set `engine_cache`") from None
    return root / "eloss_perception" / "engines"


class EngineCache:
    """Entries in a folder; whatever is wrong with that is logged, and the engine built anew."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder if folder is not None else default_cache_dir()
        self._reported: set[str] = set()

    def path(self, key: EngineKey) -> Path:
        """Where the engine for a key is or will be."""
        return self.folder / key.file_name

    def load(self, key: EngineKey) -> BuiltEngine | None:
        """The engine for a key; ``None`` where there is none that can be used."""
        path = self.path(key)
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._report(f"cannot read the engine cache: {error}")
            return None
        try:
            return _unpack(content, key)
        except ValueError as error:
            self._report(f"{path} is not used: {error}; the engine is built again")
            return None

    def _report(self, text: str) -> None:
        """Warns once: an entry is looked at before and after waiting for the lock."""
        if text not in self._reported:
            self._reported.add(text)
            _LOG.warning(text)

    def store(self, key: EngineKey, engine: BuiltEngine) -> Path | None:
        """Keeps an engine; ``None`` where that fails, which is logged as a warning."""
        path = self.path(key)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(_pack(key, engine))
                file.flush()
                os.fsync(file.fileno())  # or a power cut could leave a whole name on half a file
            os.replace(partial, path)
        except OSError as error:
            _LOG.warning("cannot keep the engine, so each start builds it again: %s", error)
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            return None
        return path

    def discard(self, key: EngineKey) -> None:
        """Removes the entry of a key that turned out to be of no use."""
        try:
            self.path(key).unlink(missing_ok=True)
        except OSError as error:
            _LOG.warning("cannot remove %s: %s", self.path(key), error)

    @contextmanager
    def building(self, key: EngineKey, waiting: Callable[[], None]) -> Iterator[None]:
        """Keeps others from building the same engine meanwhile, as far as that can be had.

        Args:
            key: Of the engine.
            waiting: Called now and then while another process builds it.
        """
        path = self.path(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            _LOG.debug("no lock: %s", error)
        with held_lock(path.with_name(path.name + ".lock"), waiting) as held:
            if held:
                self._sweep(path)
            yield

    def _sweep(self, path: Path) -> None:
        """Removes what builders that were killed while writing left; we hold the lock."""
        for partial in self.folder.glob(f"{path.name}.*.partial"):
            with suppress(OSError):
                partial.unlink(missing_ok=True)


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
    """The engine of an entry.

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
