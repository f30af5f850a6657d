"""Memory, streams and graphs: the same on the double and, where there is one, on a GPU."""

import ast
import gc
import re
import sys
from pathlib import Path

import cuda_double
import numpy as np
import pytest

import mmedge
from mmedge.backends import cuda
from mmedge.backends.device import CudaMemory

SOURCE = Path(cuda.__file__)


@pytest.fixture(params=["double", pytest.param("gpu", marks=pytest.mark.cuda)])
def device(request, monkeypatch):
    if request.param == "gpu":
        return None
    double = cuda_double.Cuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", double.module)
    return double


def pinned(values):
    array = cuda.pinned_like(np.asarray(values))
    array[...] = values
    return array


def test_what_goes_up_comes_down(device):
    stream = cuda.Stream()
    source = pinned(np.arange(1000, dtype=np.float32).reshape(10, 100))
    target, buffer = cuda.pinned_like(source), cuda.DeviceBuffer(source.nbytes)
    stream.upload(buffer, source)
    stream.download(target, buffer)
    stream.synchronize()
    np.testing.assert_array_equal(target, source)
    buffer.clear()
    stream.download(target, buffer)
    stream.synchronize()
    assert not target.any()


def test_a_stream_waits_for_what_another_has_recorded(device):
    first, second, event = cuda.Stream(), cuda.Stream(), cuda.Event()
    source, target = pinned(np.full(1 << 16, 7, np.int32)), pinned(np.zeros(1 << 16, np.int32))
    buffer = cuda.DeviceBuffer(source.nbytes)
    first.upload(buffer, source)
    first.record(event)
    second.wait(event)
    second.download(target, buffer)
    second.synchronize()
    assert (target == 7).all()


def test_captured_work_is_done_when_it_is_launched_and_as_often(device):
    stream = cuda.Stream()
    source, target = pinned(np.zeros(64, np.float32)), pinned(np.zeros(64, np.float32))
    buffer = cuda.DeviceBuffer(source.nbytes)

    def enqueue() -> None:
        stream.upload(buffer, source)
        stream.download(target, buffer)

    graph = stream.capture(enqueue)
    for value in (1, 2):
        source[...] = value
        stream.launch(graph)
        stream.synchronize()
        assert (target == value).all()


def test_a_capture_that_fails_leaves_the_stream_as_it_was(device):
    stream = cuda.Stream()

    def enqueue() -> None:
        raise mmedge.BackendError("no")

    with pytest.raises(mmedge.BackendError, match="no"):
        stream.capture(enqueue)
    source = pinned(np.ones(4, np.float32))
    buffer = cuda.DeviceBuffer(source.nbytes)
    stream.upload(buffer, source)
    stream.synchronize()


def test_memory_is_given_back_with_what_holds_it(device):
    buffer = cuda.DeviceBuffer(32)
    address = buffer.address
    if device is not None:
        assert address in device.alive
    del buffer
    gc.collect()
    if device is not None:
        assert address not in device.alive


def test_a_tensor_takes_in_others_and_is_read_by_numpy(device):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    first, second = (CudaMemory().tensor((3, 4), "float32") for _ in range(2))
    assert not np.asarray(first).any()
    first[...] = values
    second[...] = first
    first[...] = values + 1
    np.testing.assert_array_equal(np.asarray(second), values)
    np.testing.assert_array_equal(np.asarray(first), values + 1)


@pytest.mark.parametrize(
    ("shape", "axis", "size"), [((1, 5, 3), 1, 1), ((2, 6, 3), 1, 2), ((2, 3, 4), 2, 1), ((1, 1, 7), 1, 1)]
)
def test_a_window_is_shifted_as_numpy_shifts_it(device, shape, axis, size):
    random = np.random.default_rng(1)
    item_shape = (*shape[:axis], size, *shape[axis + 1 :])
    window, item = (CudaMemory().tensor(each, "float32") for each in (shape, item_shape))
    expected = np.zeros(shape, np.float32)
    for _ in range(7):
        values = random.standard_normal(item_shape).astype(np.float32)
        item[...] = values
        window.shift_in(item, axis)
        expected = np.concatenate([expected, values], axis).take(range(size, shape[axis] + size), axis)
    np.testing.assert_array_equal(np.asarray(window), expected)


def test_a_failing_call_is_one_line(device):
    if device is not None:
        device.fail["cudaMalloc"] = cuda_double.Status.cudaErrorMemoryAllocation
    huge = np.lib.stride_tricks.as_strided(np.zeros(1), (1 << 44,), (0,))  # 128 TiB
    with pytest.raises(mmedge.BackendError, match="^cudaMalloc failed: cudaErrorMemoryAllocation$"):
        cuda.DeviceBuffer(huge.nbytes)


def test_every_function_is_there_with_the_arguments_that_it_is_given():
    runtime = pytest.importorskip("cuda.bindings.runtime")
    double = cuda_double.Cuda().module
    used = {
        node.args[0].value: len(node.args) - 1
        for node in ast.walk(ast.parse(SOURCE.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "_call"
        and isinstance(node.args[0], ast.Constant)
    }
    assert len(used) > 12
    for name, count in used.items():
        signature = (getattr(runtime, name).__doc__ or "").splitlines()[0]
        assert len(re.search(r"\((.*)\)", signature)[1].split(",")) == max(count, 1), signature
        assert hasattr(double, name)
    for name in re.findall(r"_runtime\(\)\.(\w+)", SOURCE.read_text()):
        assert hasattr(runtime, name), name
