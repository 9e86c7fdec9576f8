# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files and folders appear whole or not at all, and what the disk refuses is one line."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from eloss_perception.errors import DataError
from eloss_perception.files import new_file, new_folder, write_file


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_file(path, "grün\n")
    write_file(path, b"second")
    assert path.read_bytes() == b"second"
    assert names(path.parent) == {"a.txt"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("of the writer")])
def test_a_file_that_is_given_up_leaves_the_old_one(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    write_file(path, "old")

    def write() -> None:
        with new_file(path) as file:
            file.write(b"half of the n")
            assert path.read_text() == "old"
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert names(tmp_path) == {"a.txt"}


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a.txt"
    write_file(path, "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"a\.txt: cannot write: No space left on device$"):
        write_file(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == {"a.txt"}


def test_a_device_is_written_to_and_stays_one() -> None:
    write_file(Path("/dev/null"), "nothing")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(DataError, match="/dev/full: cannot write: No space left"):
        write_file(Path("/dev/full"), "something")
    assert Path("/dev/full").is_char_device()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write_file(path, "through")
    reader.join(60.0)
    assert read == [b"through"]
    assert path.is_fifo()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "a.txt"
    link.symlink_to("disk/b.txt")
    write_file(link, "there")
    assert link.is_symlink()
    assert (tmp_path / "disk" / "b.txt").read_text() == "there"


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    refused = {
        "file/a.txt": f"{tmp_path / 'file'} is not a folder",
        "folder": "Is a directory",
        "n" * 300: "File name too long",
        "/proc/a/b.txt": "No such file or directory",  # the folder cannot be made
    }
    for name, reason in refused.items():
        path = tmp_path / name
        with pytest.raises(DataError) as caught:
            write_file(path, "text")
        assert str(caught.value) == f"{path}: cannot write: {reason}"
    assert names(tmp_path) == {"file", "folder"}
    write_file(tmp_path / ("n" * 255), "the longest name")


def test_an_error_about_another_file_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_file(tmp_path / "a.txt"):
        (tmp_path / "b.txt").read_bytes()
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "a"):
        (tmp_path / "b.txt").read_bytes()
    assert names(tmp_path) == set()


def test_a_folder_takes_its_name_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder"
    with new_folder(path) as folder:
        (folder / "a.txt").write_text("a")
        assert not path.exists()
    assert names(path.parent) == {"folder"}
    assert names(path) == {"a.txt"}


def test_a_folder_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with new_folder(tmp_path / "folder") as folder:
            (folder / "a.txt").write_text("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    with (
        pytest.raises(DataError, match=r"folder: cannot write: No space left on device$"),
        new_folder(tmp_path / "folder") as folder,
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "a.txt"))
    assert names(tmp_path) == set()


def test_a_folder_replaces_another_only_when_told_to(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with new_folder(path) as folder:  # an empty one is none
        (folder / "a.txt").write_text("a")
    with pytest.raises(DataError, match="exists; choose another name"), new_folder(path):
        pass
    with pytest.raises(KeyboardInterrupt), new_folder(path, overwrite=True):
        raise KeyboardInterrupt
    assert names(path) == {"a.txt"}
    with new_folder(path, overwrite=True) as folder:
        (folder / "b.txt").write_text("b")
    assert names(path) == {"b.txt"}
    assert names(tmp_path) == {"folder"}


def test_a_folder_that_cannot_take_the_name_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "a.txt").write_text("a")
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if (self / "b.txt").exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with (
        pytest.raises(DataError, match="Input/output error"),
        new_folder(path, overwrite=True) as folder,
    ):
        (folder / "b.txt").write_text("b")
    assert names(path) == {"a.txt"}
    assert names(tmp_path) == {"folder"}
