import numpy as np
import pytest
import torch
from mmedge_export.checkpoint import build_model, load_checkpoint
from mmedge_export.reference import CHECKPOINT
from mmedge_export.reference.batches import epoch
from mmedge_export.reference.dataset import HELD_OUT_SEED, draw_dataset
from mmedge_export.reference.evaluate import evaluate
from mmedge_export.reference.network import build
from mmedge_export.reference.objective import Hints, loss
from mmedge_export.reference.train import Recipe, train


@pytest.fixture(scope="module")
def data():
    return draw_dataset(8, seed=0, workers=1)


def test_dataset_holds_all_labels_at_model_resolution(data):
    assert (data.image.shape, data.image.dtype) == ((8, 8, 3, 120, 160), np.uint8)
    assert (data.audio.shape, data.audio.dtype) == ((8, 98, 64), np.float32)
    assert data.event.tolist() == [0, 1, 2, 3] * 2


def test_workers_draw_the_same_windows(data):
    drawn = draw_dataset(8, seed=0, workers=2)
    np.testing.assert_array_equal(drawn.image, data.image)
    np.testing.assert_array_equal(drawn.audio, data.audio)


def test_loss_decreases(data):
    torch.manual_seed(0)
    network, hints, generator = build().train(), Hints(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW([*network.parameters(), *hints.parameters()], 2e-3)
    batch = next(epoch(data, 8, np.random.default_rng(0)))
    values = []
    for _ in range(8):
        value = loss(network, hints, batch, generator)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.7 * values[0]


def test_training_twice_gives_the_same_weights(data):
    recipe = Recipe(windows=8, epochs=2, batch=8, threads=1)
    first, second = train(data, recipe).state_dict(), train(data, recipe).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_repaired_windows_get_the_label_of_what_they_became(data):
    for batch in epoch(data, 8, np.random.default_rng(1)):
        assert torch.equal(batch.event, (batch.siren + 2 * batch.beacons).long())
        assert not batch.has_distance[batch.event == 0].any()
        assert torch.equal(batch.place == 80, batch.beacons == 0)


@pytest.mark.slow
def test_committed_checkpoint_needs_both_sensors():
    network = build_model(load_checkpoint(CHECKPOINT))
    report = evaluate(network, draw_dataset(200, seed=HELD_OUT_SEED, workers=1))
    accuracy = {name: scores["accuracy"] for name, scores in report["sensors"].items()}
    assert accuracy["fusion"] >= 0.95
    assert accuracy["fusion"] >= max(accuracy["camera only"], accuracy["audio only"]) + 0.12
