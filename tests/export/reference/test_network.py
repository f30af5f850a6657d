import numpy as np
import torch
from mmedge_export.checkpoint import build_model, load_checkpoint
from mmedge_export.reference import CHECKPOINT
from mmedge_export.reference.dataset import EVENTS, reference_spec
from mmedge_export.reference.network import build
from mmedge_export.reference.samples import samples

MILLION = 1_000_000


def test_network_is_small():
    assert sum(parameter.numel() for parameter in build().parameters()) < 1.5 * MILLION


def test_shapes_are_those_of_the_spec():
    spec, network = reference_spec(), build().eval()
    image, audio = spec.ports["image"].camera, spec.ports["audio"].audio
    assert (image.shape, audio.shape) == ((8, 3, 120, 160), (98, 64))
    with torch.no_grad():
        event, distance = network(torch.randn(2, *image.shape), torch.randn(2, *audio.shape))
    assert (event.shape, distance.shape) == ((2, 4), (2, 1))
    assert spec.outputs["event"].labels == EVENTS
    assert (distance > 0).all()


def test_frame_encoder_sees_one_picture_at_a_time():
    network, window = build().eval(), torch.randn(1, 8, 3, 120, 160)
    with torch.no_grad():
        together = network.camera.frame(window.flatten(0, 1))
        alone = torch.cat([network.camera.frame(window[:, t]) for t in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)  # other batch, other order of sums


def test_committed_checkpoint_is_small_and_describes_itself():
    path = CHECKPOINT
    assert path.stat().st_size < 4 * MILLION
    checkpoint = load_checkpoint(path)
    assert checkpoint.spec == reference_spec()
    assert not build_model(checkpoint).training


def test_samples_cover_all_labels_and_follow_their_seed():
    first, second = samples(4, 0), samples(4, 0)
    assert [sorted(sample) for sample in first] == [["audio", "image", "label/distance", "label/event"]] * 4
    assert [int(sample["label/event"]) for sample in first] == [0, 1, 2, 3]
    assert [bool(np.isnan(sample["label/distance"])[0]) for sample in first] == [True, False, False, False]
    assert first[0]["image"].shape == (8, 240, 320, 3)
    assert all(
        (a["image"] == b["image"]).all() and (a["audio"] == b["audio"]).all()
        for a, b in zip(first, second, strict=True)
    )
