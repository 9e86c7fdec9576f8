# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The errors that this package raises on purpose; anything else that escapes is a bug."""

from __future__ import annotations


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


class DataError(ElossError):
    """A dataset file or a recording is missing or malformed."""
