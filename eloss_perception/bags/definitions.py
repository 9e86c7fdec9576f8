# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Definitions of installed message types, as a recording has to carry them.

They are read from the `.msg` files that every interface package installs, so that types of this
package, vision_msgs and whatever else is sourced are recorded with their own words.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
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
        for _, (kind, description) in found[message_type][1]:
            while kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
                kind, description = description[0]
            if kind == Nodetype.NAME:
                self._collect(str(description), found)


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
