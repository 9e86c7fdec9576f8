# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``health.npz`` of a bundle: the arrays of its health reference."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eloss_perception.errors import BundleError, ConfigError, printable
from eloss_perception.health.judge import HealthJudge
from eloss_perception.health.readings import RETIRED_READINGS, check_of, checks_of, reading_names
from eloss_perception.health.reference import HealthReference, Profiles

HEALTH_NAME = "health.npz"

# For bundles written before 0.5, whose files hold neither texts nor what is like traffic.
TEXTS_BEFORE_0_5 = {
    "network_fault": "like a damaged network",
    "beam_missing": "like lost beams",
    "cross_sensor": "like fewer beams",
    "crosstalk": "like cross-talk",
    "dirt": "like dirt on the cover",
    "field_of_view": "like a narrow view",
    "halved_rotation": "like half of a sweep",
    "height_offset": "like another mounting height",
    "incomplete_echo": "like lost dark returns",
    "intensity_saturated": "like intensities off the scale",
    "intensity_scale": "like a wrong intensity scale",
    "local_dropout": "like holes in the scan",
    "pitch": "like a pitched sensor",
    "point_dropout": "like lost points",
    "roll": "like a rolled sensor",
    "time_shift": "like a time jump in a sweep",
    "wrong_frame": "like a rotated frame",
}
LIKE_TRAFFIC_BEFORE_0_5 = frozenset({"incomplete_echo", "local_dropout"})

_ARRAYS = (
    *("mean", "std", "covariance", "change_covariance", "gap"),
    *("check_limits", "distance_limits"),
)
_PROFILE_ARRAYS = ("shifts", "harm", "severities")
# Names and texts of disturbances, and the names of those like traffic; since 0.5.
_TEXT_ARRAYS = ("text_names", "texts", "like_traffic")
# Of each array: its elements (numbers, whole numbers, texts) and its number of dimensions.
_KINDS = (
    dict.fromkeys((*_ARRAYS, *_PROFILE_ARRAYS), ("f", 1))
    | dict.fromkeys(("covariance", "change_covariance", "gap", "shifts"), ("f", 2))
    | {"severities": ("i", 1)}
    | dict.fromkeys(("names", "reading_names", *_TEXT_ARRAYS), ("U", 1))
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
    arrays["harm"] = profiles.ap_loss.astype(np.float32)
    arrays["severities"] = np.array(profiles.severities, np.int32)
    arrays["names"] = np.array(profiles.names, np.str_)
    arrays["reading_names"] = np.array(reference.reading_names, np.str_)
    arrays["text_names"] = np.array(list(profiles.texts), np.str_)
    arrays["texts"] = np.array(list(profiles.texts.values()), np.str_)
    arrays["like_traffic"] = np.array(sorted(profiles.like_traffic), np.str_)
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
        names = _strings(arrays["reading_names"])
        values = {name: arrays[name].astype(np.float64) for name in (*_ARRAYS, *_PROFILE_ARRAYS)}
        profiles = _profiles(arrays, values)
    except KeyError as error:
        raise BundleError(f"{path} lacks {printable(error)}; run `eloss calibrate` again") from None
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on hostile content
        raise BundleError(f"cannot read {path}: {printable(error, 300)}") from None
    if tuple(n for n in names if n not in RETIRED_READINGS) != reading_names(layer_names):
        raise BundleError(
            f"{path} holds other readings than this version takes; run `eloss calibrate` again"
        )
    limits = values.pop("distance_limits")
    if limits.shape != (2,):
        raise BundleError(f"{path}: distance_limits has shape {limits.shape}, expected (2,)")
    try:
        reference = HealthReference(
            layer_names=layer_names,
            stages=stages,
            reading_names=names,
            **{name: values[name] for name in _ARRAYS if name != "distance_limits"},
            distance_limits=(float(limits[0]), float(limits[1])),
            profiles=profiles,
            threshold=threshold,
            eloss_normal=eloss_normal,
            num_frames=num_frames,
            source=source,
        )
        HealthJudge(reference)  # refuses a covariance that is not positive definite
    except ConfigError as error:
        raise BundleError(f"{path}: {error}") from None
    return without_readings(reference, RETIRED_READINGS)


def without_readings(reference: HealthReference, dropped: Sequence[str]) -> HealthReference:
    """The same reference for fewer readings: the marginal of its Gaussians, which is exact.

    Limits of root mean squares are scaled as if the dropped readings had been normal.

    Args:
        reference: Any reference.
        dropped: Names of readings; those that it does not have are ignored.
    """
    names = reference.reading_names
    kept = np.flatnonzero([name not in dropped for name in names])
    if len(kept) == len(names):
        return reference
    block = np.ix_(kept, kept)
    kept_names = tuple(names[i] for i in kept)
    checks, kept_checks = [check_of(n) for n in names], [check_of(n) for n in kept_names]
    limits = dict(zip(reference.checks, reference.check_limits.tolist(), strict=True))
    growth = float(np.sqrt(len(names) / len(kept)))
    absolute, change = reference.distance_limits
    return replace(
        reference,
        reading_names=kept_names,
        mean=reference.mean[kept],
        std=reference.std[kept],
        covariance=reference.covariance[block],
        change_covariance=reference.change_covariance[block],
        gap=reference.gap[block],
        distance_limits=(growth * absolute, growth * change),
        check_limits=np.array(
            [
                limits[check] * np.sqrt(checks.count(check) / kept_checks.count(check))
                for check in checks_of(kept_names)
            ]
        ),
        profiles=replace(reference.profiles, shifts=reference.profiles.shifts[:, kept]),
    )


def _profiles(
    arrays: dict[str, npt.NDArray[np.generic]], values: dict[str, npt.NDArray[np.float64]]
) -> Profiles:
    texts, like_traffic = TEXTS_BEFORE_0_5, LIKE_TRAFFIC_BEFORE_0_5
    if "texts" in arrays:
        pairs = zip(_strings(arrays["text_names"]), _strings(arrays["texts"]), strict=True)
        texts, like_traffic = dict(pairs), frozenset(_strings(arrays["like_traffic"]))
    return Profiles(
        names=_strings(arrays["names"]),
        severities=tuple(int(s) for s in values["severities"]),
        shifts=values["shifts"],
        ap_loss=values["harm"],
        texts=texts,
        like_traffic=like_traffic,
    )


def _strings(array: npt.NDArray[np.generic]) -> tuple[str, ...]:
    return tuple(str(item) for item in array)


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
        # Older files hold no texts at all.
        names = [n for n in _KINDS if n not in _TEXT_ARRAYS or entries.keys() & set(_TEXT_ARRAYS)]
        return {name: _array(name, archive.read(entries[name])) for name in names}


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
