import numpy as np
import pytest
import torch
import window_models
from mmedge_export.checkpoint import save_checkpoint
from mmedge_export.pipeline import ExportOptions, export

import mmedge
from mmedge.backends.ort import OrtSession
from mmedge.feeds import CameraFeed, front_end

MIXED = {
    "padded_kernels": "combines 3 neighbouring items, with padding at the ends of the window",
    "place_before_the_encoder": "treats an item by its place in the window",
    "of_different_weights": "is not repeated in the same way for every item",
}
PAIRS = {"kernels_of_two_pictures", "differences"}
READ_RAW = {"raw_pictures_too"}
ROUNDING = 2e-6  # the kernels for one picture may add in another order than those for T


@pytest.mark.parametrize("family", window_models.FAMILIES)
def test_streaming_picture_by_picture_equals_the_unsplit_graph_on_the_window(family, tmp_path):
    torch.manual_seed(3)
    checkpoint, out, whole = tmp_path / "m.safetensors", tmp_path / "m.mmedge", tmp_path / "whole.onnx"
    save_checkpoint(checkpoint, window_models.family(family), window_models.family_spec(family))
    manifest = export(checkpoint, out, ExportOptions(random_samples=True, keep_whole=whole)).manifest
    for port in manifest.ports:
        check_stages(port, manifest)
    with mmedge.load(out) as model:
        check_stream(manifest.ports, model.new_graph(), OrtSession(whole.read_bytes(), threads=1, name="whole"))


def check_stages(port, manifest):
    """That a window is taken item by item exactly where that is possible, and that the reason is told where not."""
    first, *rest = (stage for stage in manifest.stages if stage.ports == (port,))
    notes = [note for note in manifest.notes if note.startswith(port)]
    assert first.per_item == (port not in MIXED)
    assert len(notes) == (port in MIXED)
    assert all(MIXED[port] in note for note in notes)
    assert first.items == (2 if port in PAIRS else 1)
    assert [port in stage.inputs for stage in rest] == [port in READ_RAW] * len(rest)


def check_stream(ports, graph, whole):
    longest = max(port.camera.frames for port in ports.values())
    pictures = np.random.default_rng(1).integers(0, 256, (2 * longest, 8, 8, 3), dtype=np.uint8)
    feeds = {name: CameraFeed(name, port, graph) for name, port in ports.items()}
    for i, pixels in enumerate(pictures):
        for feed in feeds.values():
            feed.accept(mmedge.VideoFrame(pixels=pixels, t_ns=i * 40_000_000))
            feed.ingest()
        if i + 1 < longest:
            continue
        for feed in feeds.values():
            feed.fill()
        graph.run()
        windows = {n: front_end(p).window(pictures[i + 1 - p.camera.frames : i + 1]) for n, p in ports.items()}
        for name, expected in whole.run({n: window[None] for n, window in windows.items()}).items():
            np.testing.assert_allclose(graph.tensors[name], expected, rtol=0, atol=ROUNDING, err_msg=name)


def test_a_model_with_nothing_but_a_window_is_split_by_time(tmp_path):
    checkpoint, out = tmp_path / "m.safetensors", tmp_path / "m.mmedge"
    save_checkpoint(checkpoint, window_models.alone("recurrent", "gru"), window_models.alone_spec("recurrent", "gru"))
    manifest = export(checkpoint, out, ExportOptions(random_samples=True)).manifest
    assert [stage.name for stage in manifest.stages] == ["image.item", "image"]
    assert manifest.kept_whole == ""
    pictures = np.random.default_rng(1).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    with mmedge.load(out) as model:
        stream = model.stream("camera")
        for i, pixels in enumerate(pictures):
            stream.push_frame(pixels, i * 40_000_000)
        streamed = stream.poll()
        assert len(streamed) == 5
        for i, prediction in enumerate(streamed):
            expected = model.infer(image=pictures[i : i + 4]).outputs["y"]
            np.testing.assert_array_equal(prediction.outputs["y"], expected)
