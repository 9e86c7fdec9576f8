# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``health.npz`` of a bundle: what clean and disturbed input look like to its network."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eloss_perception.core.health_classifier import Profiles
from eloss_perception.core.health_reference import HealthReference, without_readings
from eloss_perception.core.readings import RETIRED_READINGS, reading_names
from eloss_perception.errors import BundleError, ConfigError

HEALTH_NAME = "health.npz"

_ARRAYS = (
    *("mean", "std", "covariance", "change_covariance", "gap"),
    *("check_limits", "distance_limits"),
)
_PROFILE_ARRAYS = ("shifts", "harm", "severities")


def write_health(path: Path, reference: HealthReference) -> None:
    """Writes a reference's arrays; equal references give equal files, byte for byte.

    Args:
        path: The file; a crash leaves the old or the new one whole.
        reference: What to write. Names of layers, threshold and the like are in ``model.yaml``.
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
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            # A fixed date: the checksum is that of the content.
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED
            )
    os.replace(partial, path)


def read_health(
    path: Path,
    layer_names: tuple[str, ...],
    stages: tuple[int, ...],
    threshold: float,
    eloss_normal: float,
    num_frames: int,
    source: str,
) -> HealthReference:
    """Reads a reference; what is not an array comes from ``model.yaml``.

    Raises:
        BundleError: If the file is damaged, or of a version with other readings.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        names = tuple(str(name) for name in arrays["reading_names"])
        values = {name: arrays[name].astype(np.float64) for name in (*_ARRAYS, *_PROFILE_ARRAYS)}
        profile_names = tuple(str(name) for name in arrays["names"])
    except KeyError as error:
        raise BundleError(f"{path} lacks {error}; run `eloss calibrate` again") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"cannot read {path}: {error}") from None
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
