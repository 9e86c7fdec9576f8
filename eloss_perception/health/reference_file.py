# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``health.npz`` of a bundle: what clean and disturbed input look like to its network."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eloss_perception.errors import BundleError, ConfigError, printable
from eloss_perception.health.classifier import Profiles
from eloss_perception.health.readings import RETIRED_READINGS, reading_names
from eloss_perception.health.reference import HealthReference, without_readings

HEALTH_NAME = "health.npz"

_ARRAYS = (
    *("mean", "std", "covariance", "change_covariance", "gap"),
    *("check_limits", "distance_limits"),
)
_PROFILE_ARRAYS = ("shifts", "harm", "severities")
# Of each array: its elements (numbers, whole numbers, texts) and its number of dimensions.
_KINDS = (
    dict.fromkeys((*_ARRAYS, *_PROFILE_ARRAYS), ("f", 1))
    | dict.fromkeys(("covariance", "change_covariance", "gap", "shifts"), ("f", 2))
    | {"severities": ("i", 1)}
    | dict.fromkeys(("names", "reading_names"), ("U", 1))
)
# Ours unpack to less than half a megabyte.
_MAX_UNPACKED_BYTES = 64_000_000
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def health_bytes(reference: HealthReference) -> bytes:
    """Content of the file: a reference's arrays; equal references give equal bytes.

    Names of layers, threshold and the like are in ``model.yaml``.
    """
    profiles = reference.profiles
    arrays: dict[str, npt.NDArray[np.generic]] = {
        name: np.asarray(getattr(reference, name), np.float32) for name in _ARRAYS
    }
    # Means keep their digits: an entropy of 0.6 is compared to a thousandth of its spread.
    arrays["mean"] = reference.mean
    arrays["shifts"] = profiles.shifts.astype(np.float32)
    arrays["harm"] = profiles.harm.astype(np.float32)
    arrays["severities"] = np.array(profiles.severities, np.int32)
    arrays["names"] = np.array(profiles.names, np.str_)
    arrays["reading_names"] = np.array(reference.reading_names, np.str_)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            # A fixed date: the checksum is that of the content.
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED
            )
    return content.getvalue()


def read_health(
    content: bytes,
    path: Path,
    layer_names: tuple[str, ...],
    stages: tuple[int, ...],
    threshold: float,
    eloss_normal: float,
    num_frames: int,
    source: str,
) -> HealthReference:
    """Reads a reference; what is not an array comes from ``model.yaml``.

    Args:
        content: Of the file.
        path: Where it lies, for messages.
        layer_names: And what follows: see :class:`HealthReference`.

    Raises:
        BundleError: If the file is damaged, or of a version with other readings.
    """
    try:
        arrays = _arrays(content)
        names = tuple(str(name) for name in arrays["reading_names"])
        profile_names = tuple(str(name) for name in arrays["names"])
    except KeyError as error:
        raise BundleError(f"{path} lacks {printable(error)}; run `eloss calibrate` again") from None
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on hostile content
        raise BundleError(f"cannot read {path}: {printable(error, 300)}") from None
    values = {name: arrays[name].astype(np.float64) for name in (*_ARRAYS, *_PROFILE_ARRAYS)}
    if tuple(n for n in names if n not in RETIRED_READINGS) != reading_names(layer_names):
        raise BundleError(
            f"{path} holds other readings than this version takes; run `eloss calibrate` again"
        )
    limits = values["distance_limits"]
    if limits.shape != (2,):
        raise BundleError(f"{path}: distance_limits has shape {limits.shape}, expected (2,)")
    try:
        reference = HealthReference(
            layer_names=layer_names,
            stages=stages,
            reading_names=names,
            mean=values["mean"],
            std=values["std"],
            covariance=values["covariance"],
            change_covariance=values["change_covariance"],
            gap=values["gap"],
            distance_limits=(float(limits[0]), float(limits[1])),
            check_limits=values["check_limits"],
            profiles=Profiles(
                names=profile_names,
                severities=tuple(int(s) for s in values["severities"]),
                shifts=values["shifts"],
                harm=values["harm"],
            ),
            threshold=threshold,
            eloss_normal=eloss_normal,
            num_frames=num_frames,
            source=source,
        )
    except ConfigError as error:
        raise BundleError(f"{path}: {error}") from None
    return without_readings(reference, RETIRED_READINGS)


def _arrays(content: bytes) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays of an archive, by name; nothing is unpacked before its size is known.

    Raises:
        KeyError: If one is missing.
        Exception: Of any kind, if it is no such archive.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        if len(entries) < len(archive.infolist()) or entries.keys() - _KINDS.keys():
            raise ValueError("it holds other arrays than those of a health reference")
        if sum(entry.file_size for entry in entries.values()) > _MAX_UNPACKED_BYTES:
            raise ValueError(f"unpacked it is larger than {_MAX_UNPACKED_BYTES / 1e6:g} MB")
        if any(entry.compress_type not in _COMPRESSIONS for entry in entries.values()):
            raise ValueError("it is compressed in another way than numpy does")
        return {name: _array(name, archive.read(entries[name])) for name in _KINDS}


def _array(name: str, content: bytes) -> npt.NDArray[np.generic]:
    """One array, taken from the bytes that are there and not from those that its header states."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} is of another version of numpy's format")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    values = content[stream.tell() :]
    if (dtype.kind, len(shape)) != _KINDS[name] or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"{name} holds {dtype} {shape} in {len(values)} bytes")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if is_fortran else "C")
