# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Keeping validation frames out of the training split."""

from __future__ import annotations

import hashlib
from pathlib import Path

from eloss_perception.datasets.kitti.dataset import KittiDataset, KittiSequence
from eloss_perception.errors import DataError

_SAMPLE_BYTES = 4096
_MAX_NAMED = 5


def refuse_shared_frames(training: KittiDataset, validation: KittiDataset | KittiSequence) -> None:
    """Make sure that no frame is in both sets, by name in one root and by content anywhere.

    Costs three small reads a scan. A frame of the same drive as another passes: KITTI's own lists
    are what keeps drives apart.

    Raises:
        DataError: If the sets share frames; names some of them.
    """
    shared: list[str] = []
    if isinstance(validation, KittiDataset) and _same_frames(training, validation):
        names = set(validation.ids)
        shared = [frame_id for frame_id in training.ids if frame_id in names]
    if not shared:
        known = {scan_fingerprint(validation.scan_path(name)): name for name in validation.ids}
        for frame_id in training.ids:
            twin = known.get(scan_fingerprint(training.scan_path(frame_id)))
            if twin is not None:
                shared.append(frame_id if twin == frame_id else f"{frame_id} (there {twin})")
    if shared:
        listed = ", ".join(shared[:_MAX_NAMED]) + (", ..." if len(shared) > _MAX_NAMED else "")
        other = (
            f"split {validation.split!r}"
            if isinstance(validation, KittiDataset)
            else f"sequence {validation.sequence}"
        )
        raise DataError(
            f"{training.root}: {len(shared)} of the {len(training)} frames of split "
            f"{training.split!r} are in the validation {other} as well: {listed}; "
            "train on a split that shares none"
        )


def scan_fingerprint(path: Path) -> bytes:
    """Return a digest of a scan's size and of its first, middle and last 4096 bytes.

    Raises:
        DataError: If the file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            digest.update(size.to_bytes(8, "little"))
            for start in (0, max(0, size - _SAMPLE_BYTES) // 2, max(0, size - _SAMPLE_BYTES)):
                file.seek(start)
                digest.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise DataError(f"{path}: cannot read the scan: {error.strerror}") from error
    return digest.digest()


def _same_frames(a: KittiDataset, b: KittiDataset) -> bool:
    """Whether equal names are equal frames: one folder, or the whole and the reduced scans of it.

    `test` frames lie in a folder of their own and bear the numbers of training frames.
    """
    return a.layout.scans.parent.resolve() == b.layout.scans.parent.resolve()
