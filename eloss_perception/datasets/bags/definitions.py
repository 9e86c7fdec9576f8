# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Definitions of message types: those that are installed, and those that a recording carries.

The installed are read from the `.msg` files that every interface package installs, so that types of
this package, vision_msgs and whatever else is sourced are recorded with their own definitions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from eloss_perception.errors import DataError


class InstalledTypes:
    """A type store that fills itself from the sourced ROS environment."""

    def __init__(self) -> None:
        self.typestore: Typestore = get_typestore(Stores.EMPTY)

    def require(self, message_type: str) -> None:
        """Makes a type and all it consists of known.

        Raises:
            DataError: No definition of the type is installed.
        """
        found: dict[str, Any] = {}
        self._collect(message_type, found)
        if found:
            self.typestore.register(found)

    def _collect(self, message_type: str, found: dict[str, Any]) -> None:
        if message_type in found or message_type in self.typestore.fielddefs:
            return
        found.update(_parse(message_type))
        for inner in _inner(found[message_type][1]):
            self._collect(inner, found)


@lru_cache(maxsize=256)
def _parse(message_type: str) -> dict[str, Any]:
    package, _, name = message_type.partition("/msg/")
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        path = Path(prefix, "share", package, "msg", f"{name}.msg")
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            # An empty message has one field on the wire that no definition writes down.
            return dict(get_types_from_msg(text, message_type))
    # ROS packages that are written in IDL alone, or not installed with their sources.
    known = get_typestore(Stores.ROS2_HUMBLE).fielddefs
    if message_type not in known:
        raise DataError(f"no definition of {message_type} is installed; source its workspace")
    return {message_type: known[message_type]}


def recorded_types(definitions: Mapping[str, tuple[str, str]]) -> Typestore:
    """Returns the types of a recording, as far as they are known.

    A type is defined by the recording; where that has nothing that can be parsed, by what is
    installed; else by Humble. Where two definitions differ, the first one counts.

    Args:
        definitions: Language and text of the definition of each type, empty where there is none.
    """
    typestore = get_typestore(Stores.ROS2_HUMBLE)
    found: dict[str, Any] = {}
    for name, (language, text) in definitions.items():
        for other, body in _parse_recorded(name, language, text).items():
            found.setdefault(other, body)
    for name in definitions:
        if name not in found and name not in typestore.fielddefs:
            installed = InstalledTypes()
            with suppress(DataError):
                installed.require(name)
                for other, body in installed.typestore.fielddefs.items():
                    found.setdefault(other, body)
    # A definition that lacks a type it consists of cannot be used.
    while lacking := [
        name
        for name, (_, fields) in found.items()
        if any(inner not in found and inner not in typestore.fielddefs for inner in _inner(fields))
    ]:
        for name in lacking:
            del found[name]
    for name in list(found):
        if same_fields(found[name], typestore.fielddefs.get(name)):
            del found[name]
        else:
            typestore.fielddefs.pop(name, None)
            typestore.types.pop(name, None)
    if found:
        typestore.register(found)
    return typestore


def same_fields(one: Any, other: Any) -> bool:
    """Whether two definitions of a type put the same on the wire."""
    return bool(one and other) and [f[1] for f in one[1]] == [f[1] for f in other[1]]


def _parse_recorded(name: str, language: str, text: str) -> dict[str, Any]:
    """The types that a recorded definition defines; none where it cannot be parsed."""
    if not text.strip():  # rosbag2 leaves it empty where it did not find one
        return {}
    try:
        if language == "ros2msg":
            types = get_types_from_msg(text, name)
        elif language in ("ros2idl", "omgidl"):
            types = get_types_from_idl(text)
        else:
            return {}
    except Exception:  # the parser meets whatever a recording has for a definition
        return {}
    return {n: body for n, body in types.items() if re.fullmatch(r"\w+(/\w+)+", n, re.ASCII)}


def _inner(fields: Any) -> Iterator[str]:
    """Names of the message types that fields consist of."""
    for _, (kind, description) in fields:
        while kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            kind, description = description[0]
        if kind == Nodetype.NAME:
            yield str(description)
