# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where a KITTI root keeps what: the layouts that object sets come in, and their split lists."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from eloss_perception.datasets.kitti.objects import reason
from eloss_perception.errors import DataError, printable

# A frame's name becomes part of a path.
FRAME_ID = re.compile(r"[A-Za-z0-9_-]+")

# The whole scans, and what tools that crop to the camera view write beside or instead of them.
_SCAN_FOLDERS = ("velodyne", "velodyne_reduced")


@dataclass(frozen=True, slots=True)
class ObjectLayout:
    """The folders of one object set.

    Attributes:
        scans: Holds `<frame>.bin`.
        calibrations: Holds `<frame>.txt`.
        labels: Holds `<frame>.txt`; need not exist for a test set.
        images: Holds `<frame>.png`; need not exist.
        is_reduced: Whether the scans hold only what the camera sees.
    """

    scans: Path
    calibrations: Path
    labels: Path
    images: Path
    is_reduced: bool


def find_layout(root: str | Path, split: str = "train") -> ObjectLayout:
    """Find the folders of an object set.

    The frames are in `training/` or `object/training/` below the root, or in the root itself; the
    split `test` is in `testing/` where there is one, because its frames bear the same numbers.

    Raises:
        DataError: If none of these folders is there.
    """
    root = Path(root)
    part = "testing" if split == "test" and _frame_folders(root, "testing") else "training"
    folders = _frame_folders(root, part)
    if not folders and any((root / name).is_dir() for name in _SCAN_FOLDERS):
        folders = [root]
    if not folders:
        raise DataError(f"{root}: no folder training/; a KITTI root holds training/ and ImageSets/")
    folder = folders[0]
    scans = [folder / name for name in _SCAN_FOLDERS if (folder / name).is_dir()]
    # Without any the first is named by the error of the first scan.
    chosen = scans[0] if scans else folder / _SCAN_FOLDERS[0]
    return ObjectLayout(
        scans=chosen,
        calibrations=folder / "calib",
        labels=folder / "label_2",
        images=folder / "image_2",
        is_reduced=chosen.name == _SCAN_FOLDERS[1],
    )


def read_image_set(root: str | Path, split: str) -> tuple[str, ...]:
    """Read the list of frames of a split.

    `ImageSets/` is looked for in the root, in its `training/`, in `object/` and beside the root.

    Raises:
        DataError: If the list is missing or empty, a name in it is no frame's, or one is there
            twice.
    """
    root = Path(root)
    folder = _image_sets(root)
    path = folder / f"{split}.txt"
    known = sorted(item.stem for item in folder.glob("*.txt"))
    if not FRAME_ID.fullmatch(split):
        raise DataError(
            f"{printable(split)!r} is no name of a split; there are: {', '.join(known) or 'none'}"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot read the split: {reason(error)}; it lists a frame's name a line, such "
            f"as 000000; there are: {', '.join(known) or 'none'}"
        ) from error
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not (frame_id := line.strip()):
            continue
        if not FRAME_ID.fullmatch(frame_id):
            raise DataError(
                f"{path}:{number}: {printable(frame_id)!r} is no frame name; must be the name of "
                "a scan without folder and suffix, such as 000000"
            )
        if frame_id in seen:
            raise DataError(f"{path}:{number}: {frame_id} is in line {seen[frame_id]} already")
        seen[frame_id] = number
    if not seen:
        raise DataError(f"{path}: the split names no frame")
    return tuple(seen)


def _frame_folders(root: Path, part: str) -> list[Path]:
    candidates = (root / part, root / "object" / part)
    return [folder for folder in candidates if folder.is_dir()]


def _image_sets(root: Path) -> Path:
    """Return the folder with the lists; the root's own where there is none anywhere."""
    for parent in (root, root / "training", root / "object", root.absolute().parent):
        if (parent / "ImageSets").is_dir():
            return parent / "ImageSets"
    return root / "ImageSets"
