# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The CUDA layer: what it takes it gives back, on whichever thread, and its errors say what failed.

The driver is the stand-in of ``fake_cuda.py``, which is strict about contexts and about waiting.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import partial

import fake_cuda
import numpy as np
import pytest

from eloss_perception.errors import BackendError
from eloss_perception.runtime.gpu.cuda import CudaContext


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> fake_cuda.FakeCuda:
    return fake_cuda.install(monkeypatch)


def assert_nothing_held(fake: fake_cuda.FakeCuda) -> None:
    assert (fake.num_allocated, fake.num_retained, fake.streams) == (0, 0, set())


def test_a_context_knows_its_gpu(fake: fake_cuda.FakeCuda) -> None:
    with CudaContext(0) as context:
        assert context.device_name == "Fake GPU"
        assert context.compute_capability == (8, 7)
        assert context.stream in fake.streams
    assert_nothing_held(fake)


def test_an_array_comes_back_once_the_stream_was_waited_for(fake: fake_cuda.FakeCuda) -> None:
    with CudaContext(0) as context:
        buffer = context.allocate(48)
        sent = context.pinned((3, 4), np.float32)
        received = context.pinned((3, 4), np.float32)
        sent[:] = np.arange(12).reshape(3, 4)
        received[:] = -1
        context.upload(sent, buffer)
        context.download(buffer, received)
        assert (received == -1).all()
        context.synchronize()
        np.testing.assert_array_equal(received, sent)
        context.clear(buffer)
        context.download(buffer, received)
        context.synchronize()
        assert not received.any()


def test_arrays_without_elements_are_copied_like_others(fake: fake_cuda.FakeCuda) -> None:
    with CudaContext(0) as context:
        buffer, array = context.allocate(0), context.pinned((0, 4), np.float32)
        assert array.shape == (0, 4) and buffer.pointer
        context.upload(array, buffer)
        context.download(buffer, array)
        context.synchronize()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5, np.float32), "20 bytes do not fit a device buffer of 16"),
        (np.zeros((4, 4), np.float32)[:, 0], "C-contiguous"),
    ],
)
def test_copies_that_cannot_be_are_refused(
    fake: fake_cuda.FakeCuda, array: np.ndarray, message: str
) -> None:
    with CudaContext(0) as context:
        buffer = context.allocate(16)
        for copy in (
            lambda: context.upload(array, buffer),
            lambda: context.download(buffer, array),
        ):
            with pytest.raises(BackendError, match=message):
                copy()
        buffer.free()
        with pytest.raises(BackendError, match="device buffer of 0"):
            context.upload(np.zeros(1, np.float32), buffer)


def test_buffers_go_when_freed_dropped_or_closed(fake: fake_cuda.FakeCuda) -> None:
    context = CudaContext(0)
    freed, dropped, closed = (context.allocate(100) for _ in range(3))
    freed.free()
    freed.free()
    assert fake.num_allocated == 2
    del dropped
    assert fake.num_allocated == 1
    context.close()
    context.close()
    assert freed.pointer == closed.pointer == 0
    assert_nothing_held(fake)


def test_a_dropped_context_is_closed(fake: fake_cuda.FakeCuda) -> None:
    context = CudaContext(0)
    buffer = context.allocate(100)
    del context
    assert buffer.pointer == 0
    assert_nothing_held(fake)


def test_pinned_arrays_outlive_their_context(fake: fake_cuda.FakeCuda) -> None:
    context = CudaContext(0)
    array = context.pinned((4,), np.float32)
    view = array[1:]
    context.close()
    del array
    view[:] = 1.0
    assert fake.num_allocated == fake.num_retained == 1
    del view
    assert_nothing_held(fake)


def test_a_closed_context_refuses_work(fake: fake_cuda.FakeCuda) -> None:
    context = CudaContext(0)
    context.close()
    for call in (context.synchronize, context.activate, lambda: context.allocate(1)):
        with pytest.raises(BackendError, match="closed"):
            call()


def test_two_contexts_share_the_device(fake: fake_cuda.FakeCuda) -> None:
    with CudaContext(0) as one, CudaContext(0) as other:
        assert one.stream != other.stream
        one.close()
        other.synchronize()
        other.allocate(8)
    assert_nothing_held(fake)


def test_every_method_works_on_a_thread_of_its_own(fake: fake_cuda.FakeCuda) -> None:
    context = CudaContext(0)
    buffer, array = context.allocate(16), context.pinned((4,), np.float32)
    work: list[Callable[[], object]] = [
        partial(context.upload, array, buffer),
        partial(context.download, buffer, array),
        partial(context.clear, buffer),
        context.synchronize,
        lambda: context.allocate(8).free(),
        lambda: context.pinned((2,), np.uint8).fill(0),
        buffer.free,
        context.close,
    ]
    del array
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work.pop(0)()
        except BaseException as error:
            errors.append(error)

    while work:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert not errors
    assert_nothing_held(fake)


def test_freeing_leaves_the_current_context_of_the_thread_alone(fake: fake_cuda.FakeCuda) -> None:
    context = CudaContext(0)
    buffer = context.allocate(8)
    fake.cuCtxSetCurrent("somebody else's")
    buffer.free()
    context.close()
    assert fake.cuCtxPopCurrent()[1] == "somebody else's"


@pytest.mark.parametrize(
    "call",
    [
        *("cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute"),
        *("cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuStreamCreate"),
    ],
)
def test_a_start_that_fails_names_the_call_and_holds_nothing(
    fake: fake_cuda.FakeCuda, call: str
) -> None:
    fake.failures[call] = 999
    with pytest.raises(BackendError, match=rf"^{call} failed: CUDA_999 \(in words\)$"):
        CudaContext(0)
    assert_nothing_held(fake)


def test_without_memory_the_error_says_so_and_the_context_goes_on(
    fake: fake_cuda.FakeCuda,
) -> None:
    with CudaContext(0) as context:
        for call in ("cuMemAlloc", "cuMemHostAlloc"):
            fake.failures[call] = fake_cuda.OUT_OF_MEMORY
        with pytest.raises(BackendError, match=r"^cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY"):
            context.allocate(1 << 40)
        with pytest.raises(BackendError, match=r"^cuMemHostAlloc failed: CUDA_ERROR_OUT_OF_MEM"):
            context.pinned((1 << 40,), np.uint8)
        fake.failures.clear()
        context.allocate(8)
    assert_nothing_held(fake)


def test_a_device_that_is_lost_can_still_be_closed(fake: fake_cuda.FakeCuda) -> None:
    context = CudaContext(0)
    context.allocate(8)
    failing = ("cuMemFree", "cuStreamSynchronize", "cuStreamDestroy", "cuCtxPushCurrent")
    fake.failures.update(dict.fromkeys(failing, 700))
    with pytest.raises(BackendError, match=r"^cuStreamSynchronize failed: CUDA_ERROR_ILLEGAL_ADD"):
        context.synchronize()
    context.close()
    assert fake.num_retained == 0


def test_there_is_no_such_gpu(fake: fake_cuda.FakeCuda) -> None:
    with pytest.raises(BackendError, match="there is no GPU 1: CUDA sees 1"):
        CudaContext(1)


def test_without_the_bindings_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendError, match=r"pip install 'cuda-bindings"):
        CudaContext(0)


def test_without_a_driver_the_error_is_one_line() -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    try:
        CudaContext(0).close()
    except BackendError as error:
        message = str(error)
    else:
        pytest.skip("here is one")
    assert message.startswith("cuInit failed: ") and "\n" not in message
