# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a rosbag2: what `metadata.yaml` says of them, and which can be opened.

Irregularities that lose nothing go to a list of warnings.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Any

import yaml

from eloss_perception.datasets.bags import mcap_file, sqlite_file
from eloss_perception.datasets.bags.storage import (
    LZ4_MAGIC,
    ZSTD_MAGIC,
    StorageFile,
    decompress_file,
)
from eloss_perception.errors import DataError

_SUFFIXES = (".mcap", ".db3")
_COMPRESSED_SUFFIXES = (".zstd", ".zst", ".lz4")
_MAX_METADATA_BYTES = 2**26


def is_bag(path: Path) -> bool:
    """Whether a path is to be read as a bag: a folder with metadata or storage files, or a file."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or bool(_storage_files(path))
    return _is_storage_name(path)


def read_metadata(path: Path, warnings: list[str]) -> dict[str, Any]:
    """The content of metadata.yaml; empty where there is none that can be used."""
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if not path.is_dir():
        return {}
    file = path / "metadata.yaml"
    if not file.is_file():
        if not _storage_files(path):
            raise DataError(f"{path} is no readable rosbag2: no metadata.yaml, no storage")
        warnings.append(f"{path} has no metadata.yaml; its files are read as they are")
        return {}
    try:
        with file.open(encoding="utf-8") as stream:
            content = yaml.safe_load(stream.read(_MAX_METADATA_BYTES))
        metadata = content["rosbag2_bagfile_information"]
        if not isinstance(metadata, dict):
            raise TypeError(type(metadata).__name__)
    except (ValueError, yaml.YAMLError, TypeError, KeyError, RecursionError):
        if not _storage_files(path):
            raise DataError(f"{file} is no rosbag2 metadata, and there is no storage") from None
        warnings.append(f"{file} is no rosbag2 metadata; the files are read as they are")
        return {}
    mode = str(metadata.get("compression_mode") or "none").lower()
    kind = metadata.get("compression_format")
    if mode != "none" and kind not in ("zstd", "lz4"):
        raise DataError(f"{file}: compression {kind!r} is not supported; zstd and lz4 are")
    return metadata


def find_files(path: Path, metadata: dict[str, Any], warnings: list[str]) -> list[Path]:
    """Returns the storage files of a bag, in order; those that metadata.yaml names if it does."""
    if not path.is_dir():
        return [path]
    names = metadata.get("relative_file_paths")
    there = _storage_files(path)
    if not isinstance(names, list) or not names:
        if not there:
            raise DataError(f"{path} is no readable rosbag2: it names and has no storage")
        if metadata:
            warnings.append(f"{path}/metadata.yaml names no file; all are read")
        return there
    # Old versions wrote the path from where the recorder was started.
    named = [path / PurePath(str(name)).name for name in names]
    warnings += [
        f"{file} is left out: metadata.yaml does not name it"
        for file in there
        if file not in named and not any(file.name in n.name for n in named)
    ]
    return named


def open_storage(path: Path, shown: Path, stack: ExitStack) -> StorageFile:
    """Opens a file as what its first bytes say it is, whatever its name and metadata say.

    Args:
        path: The file; it may be compressed as a whole.
        shown: What messages to the user call it.
        stack: Removes what was unpacked.

    Raises:
        DataError: It is missing or no storage file, or it is damaged.
    """
    if not path.is_file():
        raise DataError(f"{shown} is missing")
    with path.open("rb") as stream:
        head = stream.read(64)
    if head.startswith(mcap_file.MAGIC):
        return mcap_file.McapFile(path, shown)
    if head.startswith(sqlite_file.MAGIC):
        return sqlite_file.SqliteFile(path, shown)
    if head.startswith((ZSTD_MAGIC, LZ4_MAGIC)) and path == shown:
        return open_storage(_unpacked_file(path, stack), shown, stack)
    raise DataError(f"{shown} is no rosbag2 storage: {_what_it_is(head)}")


def read_promises(
    path: Path, metadata: dict[str, Any], warnings: list[str]
) -> tuple[Counter[str], dict[str, str]]:
    """Messages by topic and encoding by topic, as the metadata have them."""
    promised: Counter[str] = Counter()
    encodings: dict[str, str] = {}
    try:
        for entry in metadata.get("topics_with_message_count") or ():
            topic = str(entry["topic_metadata"]["name"])
            promised[topic] += int(entry["message_count"])
            encodings[topic] = str(entry["topic_metadata"].get("serialization_format") or "cdr")
        total = int(metadata.get("message_count", promised.total()))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}/metadata.yaml is damaged: what it says of the topics cannot be read"
            f" ({type(error).__name__}: {error}); without that file the storage is read alone"
        ) from None
    if total != promised.total():
        warnings.append(
            f"{path}: metadata.yaml promises {total} messages in all, by topic {promised.total()}"
        )
    return promised, encodings


def _unpacked_file(path: Path, stack: ExitStack) -> Path:
    """Unpacks a file to a place of its own.

    Raises:
        DataError: It is garbled or cut off, or the disk is full.
    """
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="eloss_bag_"))
    name = path.stem if path.suffix in _COMPRESSED_SUFFIXES else path.name
    decompress_file(path, Path(folder, name))
    return Path(folder, name)


def _what_it_is(head: bytes) -> str:
    if not head:
        return "it is empty"
    if head.startswith(b"#ROSBAG"):
        return "it is a ROS 1 bag; `rosbags-convert` makes a rosbag2 of it"
    if head.startswith(b"version https://git-lfs"):
        return "it only points to a file in Git LFS; `git lfs pull` gets it"
    return f"it begins with {head[:8]!r}"


def _is_storage_name(path: Path) -> bool:
    name = path.name
    for suffix in _COMPRESSED_SUFFIXES:
        name = name.removesuffix(suffix)
    return path.is_file() and name.endswith(_SUFFIXES)


def _storage_files(folder: Path) -> list[Path]:
    """The storage files of a folder, in the order of their numbers: bag_2 before bag_10."""
    return sorted(
        (file for file in folder.iterdir() if _is_storage_name(file)),
        key=lambda file: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", file.name)],
    )
