# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The errors that this package raises on purpose; anything else that escapes is a bug."""

from __future__ import annotations

_MAX_NAME = 60


class ElossError(Exception):
    """Base of every expected error; its text is one line that says what to do."""


class ConfigError(ElossError):
    """A setting is unknown, of the wrong type or out of range."""


class CloudError(ElossError):
    """One point cloud cannot be read; the frame is dropped, the stream goes on."""


class BundleError(ElossError):
    """A model bundle is missing, incomplete, altered or of another format version."""


class BackendError(ElossError):
    """An inference backend is not installed, cannot start or failed on a frame."""


class HangError(BackendError):
    """A backend hangs, also after it was loaded again: only a new process helps."""


class DataError(ElossError):
    """A dataset file or a recording is missing or malformed."""


def printable(text: object, max_length: int = _MAX_NAME) -> str:
    r"""Returns text of unknown origin, safe to repeat in a message, a log line or diagnostics.

    Args:
        text: A name, or whatever else came from outside: a field, a frame, another error's text.
        max_length: Characters to keep; longer text ends with how long it was.

    Returns:
        One line without control characters (``\n``, ``\x1b``), at most ``max_length`` and some
        twenty characters long.
    """
    whole = str(text)
    if len(whole) <= max_length and whole.isprintable():
        return whole
    kept = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole[:max_length]
    )
    if len(whole) <= max_length and len(kept) <= max_length:
        return kept
    return f"{kept[:max_length]}... ({len(whole)} characters)"
