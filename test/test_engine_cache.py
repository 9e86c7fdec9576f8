# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The engine cache: what it keeps, what it refuses, and several at once."""

from __future__ import annotations

import errno
import fcntl
import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_tensorrt import FakeTensorRt
from tiny_bundle import write_tiny_bundle

from eloss_perception.errors import BackendError
from eloss_perception.runtime.bundle import Bundle
from eloss_perception.runtime.engines.build import BuiltEngine, PillarProfile
from eloss_perception.runtime.engines.cache import EngineCache, EngineKey, default_cache_dir
from eloss_perception.runtime.engines.locking import held_lock
from eloss_perception.runtime.engines.provide import Device, ProvidedEngine, provide_engine
from eloss_perception.runtime.onnx_file import OnnxFile

KEY = EngineKey(
    onnx_sha256="ab" * 32,
    runtime="tensorrt",
    version="10.3.0",
    device_name="Orin",
    compute_capability="sm_87",
    profile=PillarProfile(2, 4000, 8000, 20),
)
ENGINE = BuiltEngine(bytes(range(256)) * 40, "float16")
ORIN = Device("Orin", "sm_87")

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle"))


def provide(
    trt: FakeTensorRt, bundle: Bundle, folder: Path, device: Device = ORIN
) -> ProvidedEngine:
    return provide_engine(
        trt, bundle.onnx, bundle.grid, device, EngineCache(folder), lambda phase, share: None
    )


def test_an_engine_is_built_once_and_then_found(bundle: Bundle, tmp_path: Path) -> None:
    trt = FakeTensorRt()
    built = provide(trt, bundle, tmp_path / "a" / "b")
    found = provide(FakeTensorRt(), bundle, tmp_path / "a" / "b")
    assert built.build_s is not None and found.build_s is None
    assert built.path == found.path and found.path is not None and found.path.is_file()
    assert built.precision == found.precision == "float32"
    assert found.path.name.startswith(bundle.facts.onnx_sha256[:12])


@pytest.mark.parametrize(
    "change",
    [
        {"onnx_sha256": "cd" * 32},
        {"runtime": "tensorrt_rtx"},
        {"version": "10.3.1"},
        {"device_name": "Orin Nano"},
        {"compute_capability": "sm_86"},
        {"profile": PillarProfile(2, 4000, 8001, 20)},
        {"profile": PillarProfile(2, 4000, 8000, 16)},
        {"precision": "weakly typed"},
        {"workspace_bytes": 1},
    ],
    ids=str,
)
def test_an_engine_for_anything_else_is_not_taken(
    tmp_path: Path, change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    cache = EngineCache(tmp_path)
    path = cache.store(KEY, ENGINE)
    assert path is not None and cache.load(KEY) == ENGINE
    other = replace(KEY, **change)  # type: ignore[arg-type]
    assert cache.load(other) is None
    assert not caplog.records  # that is no reason to worry anyone
    # Nor under the other's name, as somebody who copies files may leave it.
    shutil.copy(path, cache.path(other))
    assert cache.load(other) is None
    assert "built for something else" in caplog.text


def _flip(content: bytes, index: int) -> bytes:
    return content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: b"", "no engine of this package"),
        (lambda content: content[:20], "no engine of this package"),
        (lambda content: content[:40], "cut off"),
        (lambda content: content[: content.index(b"\n", 30)], "cut off"),
        (lambda content: content[:-1], "truncated or damaged"),
        (lambda content: content[: len(content) // 2], "truncated or damaged"),
        (lambda content: content + b"x", "truncated or damaged"),
        (lambda content: _flip(content, len(content) - 5), "truncated or damaged"),
        (lambda content: _flip(content, 30), "damaged"),
        (lambda content: content.replace(b'"float16"', b'"float32"'), None),
        (lambda content: ENGINE.plan, "no engine of this package"),
        (lambda content: content.replace(b"engine 1", b"engine 0"), "another format"),
        (lambda content: content[:26] + b"[]\n" + ENGINE.plan, "damaged"),
    ],
)
def test_a_damaged_or_foreign_file_is_not_taken(
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    said: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = EngineCache(tmp_path)
    path = cache.store(KEY, ENGINE)
    assert path is not None
    path.write_bytes(damage(path.read_bytes()))
    found = cache.load(KEY)
    if said is None:  # the label alone is not part of what is computed
        assert found == BuiltEngine(ENGINE.plan, "float32")
    else:
        assert found is None
        assert said in caplog.text


def test_a_damaged_entry_is_replaced(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trt = FakeTensorRt()
    path = provide(trt, bundle, tmp_path).path
    assert path is not None
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert provide(trt, bundle, tmp_path).build_s is not None
    assert path.read_bytes() == whole
    assert len(caplog.records) == 1
    assert provide(trt, bundle, tmp_path).build_s is None


def test_another_version_gpu_or_network_is_another_entry(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "changed.onnx"
    path.write_bytes(bundle.onnx.content.replace(b"tiny", b"tony"))
    changed = OnnxFile.read(path)
    folder = tmp_path / "engines"
    for trt, device, onnx in (
        (FakeTensorRt("10.3.0"), ORIN, bundle.onnx),
        (FakeTensorRt("10.16.1"), ORIN, bundle.onnx),
        (FakeTensorRt("10.3.0"), Device("Orin", "sm_86"), bundle.onnx),
        (FakeTensorRt("10.3.0"), ORIN, changed),
    ):
        for expected_builds in (1, 1):
            provide_engine(
                trt, onnx, bundle.grid, device, EngineCache(folder), lambda phase, share: None
            )
            assert trt.num_builds == expected_builds
    assert len(list(folder.glob("*.engine"))) == 4


def test_an_engine_that_tensorrt_refuses_is_built_again_once(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trt = FakeTensorRt()
    provide(trt, bundle, tmp_path)
    trt.refused_engines = 1
    assert provide(trt, bundle, tmp_path).build_s is not None
    assert "refuses its own engine" in caplog.text and "kSERIAL" in caplog.text
    assert provide(trt, bundle, tmp_path).build_s is None
    trt.refused_engines = 100
    with pytest.raises(BackendError, match="cannot open the engine that it built"):
        provide(trt, bundle, tmp_path)
    assert trt.num_builds == 3
    assert not list(tmp_path.glob("*.engine"))  # one that cannot be opened is not kept


def test_a_folder_that_cannot_be_written_is_a_warning(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    for folder in (blocked, blocked / "below"):
        caplog.clear()
        provided = provide(FakeTensorRt(), bundle, folder)
        assert provided.path is None and provided.engine is not None
        warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert any("cannot keep the engine" in record.message for record in warnings)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_a_warning_and_leaves_nothing(
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, step, fail)
        assert provide(FakeTensorRt(), bundle, tmp_path).path is None
    assert "No space left on device" in caplog.text
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_builder_killed_while_writing_leaves_no_entry(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed() -> None:
        monkeypatch.setattr(os, "fsync", lambda file: os.kill(os.getpid(), signal.SIGKILL))
        provide(FakeTensorRt(), bundle, tmp_path)

    process = FORK.Process(target=killed)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not list(tmp_path.glob("*.engine"))
    assert len(list(tmp_path.glob("*.partial"))) == 1
    # Its lock went with it, and what it left is cleared away.
    assert provide(FakeTensorRt(), bundle, tmp_path).path is not None
    assert not list(tmp_path.glob("*.partial"))


def test_of_two_processes_one_builds_and_both_have_it(bundle: Bundle, tmp_path: Path) -> None:
    builds, waits = tmp_path / "builds", tmp_path / "waits"

    class SlowTensorRt(FakeTensorRt):
        def Builder(self, logger: object) -> object:  # noqa: N802
            give_up = time.monotonic() + 60.0
            while not waits.exists() and time.monotonic() < give_up:
                time.sleep(0.01)
            with builds.open("a") as file:
                file.write("built\n")
            return super().Builder(logger)

    def note(phase: str, share: float) -> None:
        if phase.startswith("another process"):
            waits.touch()

    def start() -> None:
        provided = provide_engine(
            SlowTensorRt(), bundle.onnx, bundle.grid, ORIN, EngineCache(tmp_path / "e"), note
        )
        os._exit(0 if provided.path is not None and provided.path.is_file() else 1)

    processes = [FORK.Process(target=start) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert builds.read_text() == "built\n"
    assert waits.exists()


def test_a_lock_that_is_never_released_is_not_waited_for_forever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lock"
    tries = []
    with held_lock(path, lambda: None) as first:
        with held_lock(path, lambda: tries.append(1), patience_s=0.3) as second:
            assert first and not second
        assert tries and "too long" in caplog.text
    with held_lock(path, lambda: None, patience_s=0.0) as third:
        assert third


def test_a_file_system_without_locks_does_without(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    assert provide(FakeTensorRt(), bundle, tmp_path).path is not None


def test_the_default_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "eloss_perception" / "engines"
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    # The specification has relative paths ignored.
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert default_cache_dir() == tmp_path / "me/.cache/eloss_perception/engines"


# ------------------------------------------------------------------- what runs is nobody else's


def test_the_folder_is_for_this_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    for number, umask in enumerate((0o000, 0o002, 0o022, 0o077)):
        old = os.umask(umask)
        try:
            folder = tmp_path / str(number) / "engines"
            path = EngineCache(folder).store(KEY, ENGINE)
            with EngineCache(folder).building(KEY, lambda: None):
                pass
        finally:
            os.umask(old)
        assert path is not None and EngineCache(folder).load(KEY) == ENGINE
        for made in (folder.parent, folder, *folder.iterdir()):
            assert made.stat().st_mode & 0o077 == 0, made


def test_a_default_folder_of_an_earlier_version_is_closed_to_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    default_cache_dir().mkdir(parents=True)
    default_cache_dir().chmod(0o775)
    assert EngineCache(None).store(KEY, ENGINE) is not None
    assert default_cache_dir().stat().st_mode & 0o777 == 0o700


def _open_folder(folder: Path, entry: Path) -> None:
    folder.chmod(0o777)


def _open_entry(folder: Path, entry: Path) -> None:
    entry.chmod(0o666)


def _group_entry(folder: Path, entry: Path) -> None:
    entry.chmod(0o664)


def _foreign_folder(folder: Path, entry: Path) -> None:
    os.chown(folder, 65534, 65534)


def _foreign_entry(folder: Path, entry: Path) -> None:
    os.chown(entry, 65534, 65534)


def _linked_entry(folder: Path, entry: Path) -> None:
    entry.rename(folder / "elsewhere")
    entry.symlink_to(folder / "elsewhere")


def _linked_folder(folder: Path, entry: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def _fifo(folder: Path, entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry)


def _device(folder: Path, entry: Path) -> None:
    entry.unlink()
    entry.symlink_to("/dev/zero")


def _folder(folder: Path, entry: Path) -> None:
    entry.unlink()
    entry.mkdir()


def _huge(folder: Path, entry: Path) -> None:
    with entry.open("r+b") as file:
        file.truncate(1 << 40)


@pytest.mark.parametrize(
    "tamper",
    [
        *(_open_folder, _open_entry, _group_entry, _foreign_folder, _foreign_entry),
        *(_linked_entry, _linked_folder, _fifo, _device, _folder, _huge),
    ],
)
def test_what_others_may_have_put_there_is_built_anew(
    bundle: Bundle,
    tmp_path: Path,
    tamper: Callable[[Path, Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    if "foreign" in tamper.__name__ and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    folder = tmp_path / "engines"
    path = provide(FakeTensorRt(), bundle, folder).path
    assert path is not None
    tamper(folder, path)
    trt = FakeTensorRt()
    provided = provide(trt, bundle, folder)
    assert trt.num_builds == 1 and provided.engine is not None
    assert any(record.levelno == logging.WARNING for record in caplog.records)


def test_root_may_provide_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs files of root's")
    assert EngineCache(tmp_path / "engines").store(KEY, ENGINE) is not None
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert EngineCache(tmp_path / "engines").load(KEY) == ENGINE


def test_links_planted_where_files_will_be_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "engines"
    cache = EngineCache(folder)
    folder.mkdir(0o700)
    for name in (".lock", f".{os.getpid()}.partial", ""):
        Path(f"{cache.path(KEY)}{name}").symlink_to(victim)
    with cache.building(KEY, lambda: None):
        path = cache.store(KEY, ENGINE)
    assert path is not None and not path.is_symlink() and cache.load(KEY) == ENGINE
    assert victim.read_text() == "precious"


def test_a_fifo_in_the_locks_place_is_no_lock(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    with held_lock(tmp_path / "lock", lambda: None) as held:
        assert not held
