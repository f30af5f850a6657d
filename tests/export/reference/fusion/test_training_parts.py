import math

import numpy as np
import pytest
import torch
from mmedge_export.reference.fusion.ablation import ablations, subsets
from mmedge_export.reference.fusion.adversarial import fgsm
from mmedge_export.reference.fusion.alignment import info_nce, symmetric_info_nce
from mmedge_export.reference.fusion.dropout import ModalityDropout
from mmedge_export.reference.fusion.multitask import UncertaintyWeighting, weighted_loss
from torch import nn

# --- alignment ---


def by_hand(queries, keys, temperature):
    """InfoNCE with explicit loops, in float64."""
    total = 0.0
    for i, query in enumerate(queries):
        cosine = [float(query @ key / (np.linalg.norm(query) * np.linalg.norm(key))) for key in keys]
        weights = [math.exp(each / temperature) for each in cosine]
        total -= math.log(weights[i] / sum(weights))
    return total / len(queries)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_info_nce_is_its_definition(temperature):
    torch.manual_seed(0)
    a, b = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    expected = by_hand(a.numpy(), b.numpy(), temperature)
    backwards = by_hand(b.numpy(), a.numpy(), temperature)
    assert info_nce(a, b, temperature).item() == pytest.approx(expected, abs=1e-10)
    assert symmetric_info_nce(a, b, temperature).item() == pytest.approx((expected + backwards) / 2, abs=1e-10)
    assert symmetric_info_nce(b, a, temperature).item() == pytest.approx((expected + backwards) / 2, abs=1e-10)


def test_info_nce_of_a_guess_is_log_b_and_of_the_truth_is_nothing():
    same = torch.ones(8, 4)
    assert info_nce(same, same).item() == pytest.approx(math.log(8), abs=1e-6)
    assert info_nce(torch.eye(8), torch.eye(8), 0.05).item() < 1e-6
    assert info_nce(torch.eye(8), torch.eye(8).roll(1, 0), 0.05).item() > 10


def test_alignment_brings_two_modalities_together():
    torch.manual_seed(0)
    seen, heard = torch.randn(16, 6), torch.randn(16, 9)
    eye, ear = nn.Linear(6, 8), nn.Linear(9, 8)
    optimizer = torch.optim.Adam([*eye.parameters(), *ear.parameters()], 0.03)
    for _ in range(60):
        optimizer.zero_grad()
        symmetric_info_nce(eye(seen), ear(heard)).backward()
        optimizer.step()
    similarity = nn.functional.normalize(eye(seen), dim=1) @ nn.functional.normalize(ear(heard), dim=1).T
    assert (similarity.argmax(1) == torch.arange(16)).float().mean() >= 0.9


# --- several tasks ---


def test_weighted_loss_is_the_sum():
    losses = {"event": torch.tensor(2.0), "distance": torch.tensor(3.0)}
    assert weighted_loss(losses, {"distance": 0.5, "event": 2.0}).item() == 5.5
    with pytest.raises(ValueError, match="expected the same tasks"):
        weighted_loss(losses, {"event": 1.0})


def test_a_regression_s_uncertainty_is_the_gaussian_likelihood():
    torch.manual_seed(0)
    error = torch.randn(50, dtype=torch.float64)
    weighting = UncertaintyWeighting({"distance": "regression"}).double()
    for variance in (0.25, 1.0, 4.0):
        with torch.no_grad():
            weighting.log_variance.fill_(math.log(variance))
        expected = nn.functional.gaussian_nll_loss(
            error, torch.zeros_like(error), torch.full_like(error, variance), eps=0.0
        )
        assert weighting({"distance": error.square().mean()}).item() == pytest.approx(expected.item(), abs=1e-12)


def test_learned_variances_are_those_of_the_closed_form():
    """The minimum over s of factor * exp(-s) L + s/2 is at exp(s) = 2 factor L."""
    losses = {"event": torch.tensor(0.3), "distance": torch.tensor(5.0)}
    weighting = UncertaintyWeighting({"event": "classification", "distance": "regression"})
    optimizer = torch.optim.Adam(weighting.parameters(), 0.05)
    for _ in range(600):
        optimizer.zero_grad()
        weighting(losses).backward()
        optimizer.step()
    np.testing.assert_allclose(weighting.log_variance.exp().detach().numpy(), [2 * 0.3, 5.0], rtol=0.01)


def test_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match="losses are of level; expected event"):
        UncertaintyWeighting({"event": "classification"})({"level": torch.tensor(1.0)})


# --- adversarial examples ---


def test_the_step_against_a_linear_model_raises_the_loss_by_the_norm_of_its_weights():
    torch.manual_seed(0)
    weights = {"image": torch.randn(3, 4, dtype=torch.float64), "audio": torch.randn(5, dtype=torch.float64)}
    inputs = {"image": torch.randn(2, 3, 4, dtype=torch.float64), "audio": torch.randn(2, 5, dtype=torch.float64)}

    def loss(given):
        return sum((given[name] * weight).sum() for name, weight in weights.items())

    moved = fgsm(loss, inputs, {"image": 0.1, "audio": 0.02})
    gained = (loss(moved) - loss(inputs)).item()
    expected = 2 * (0.1 * weights["image"].abs().sum() + 0.02 * weights["audio"].abs().sum())
    assert gained == pytest.approx(expected.item(), abs=1e-10)


def test_only_the_attacked_modality_moves_by_its_step_and_the_loss_rises():
    torch.manual_seed(0)
    layers = nn.ModuleDict({"image": nn.Linear(6, 4), "audio": nn.Linear(5, 4)})
    inputs, truth = {"image": torch.randn(8, 6), "audio": torch.randn(8, 5)}, torch.arange(8) % 4
    before = {name: each.clone() for name, each in inputs.items()}

    def loss(given):
        return nn.functional.cross_entropy(layers["image"](given["image"]) + layers["audio"](given["audio"]), truth)

    moved = fgsm(loss, inputs, {"audio": 0.3})
    assert moved["image"] is inputs["image"]
    assert all(torch.equal(before[name], inputs[name]) for name in inputs)
    assert (moved["audio"] - inputs["audio"]).abs().max().item() == pytest.approx(0.3, abs=1e-6)
    assert loss(moved) > loss(inputs)
    assert not moved["audio"].requires_grad
    assert all(parameter.grad is None for parameter in layers.parameters())


def test_adversarial_steps_can_be_made_where_gradients_are_off():
    with torch.no_grad():
        moved = fgsm(lambda given: given["x"].square().sum(), {"x": torch.tensor([[1.0, -2.0, 0.0]])}, {"x": 0.5})
    assert moved["x"].tolist() == [[1.5, -2.5, 0.0]]


@pytest.mark.parametrize(
    ("epsilon", "message"), [({"smell": 0.1}, "given for smell; the inputs are x"), ({"x": -1.0}, "negative")]
)
def test_a_step_that_cannot_be_is_refused(epsilon, message):
    with pytest.raises(ValueError, match=message):
        fgsm(lambda given: given["x"].sum(), {"x": torch.ones(1, 1)}, epsilon)


def test_training_with_adversarial_sounds_makes_the_model_bear_them():
    torch.manual_seed(0)
    truth = torch.arange(200) % 2
    inputs = {"image": truth[:, None] + torch.randn(200, 1), "audio": 2.0 * truth[:, None] + 0.05 * torch.randn(200, 1)}

    def attacked_loss(*, adversarial):
        model = nn.Linear(2, 2)
        optimizer = torch.optim.Adam(model.parameters(), 0.05)

        def loss(given):
            return nn.functional.cross_entropy(model(torch.cat([given["image"], given["audio"]], 1)), truth)

        for _ in range(150):
            given = fgsm(loss, inputs, {"audio": 1.2}) if adversarial else inputs
            optimizer.zero_grad()
            loss(given).backward()
            optimizer.step()
        return loss(fgsm(loss, inputs, {"audio": 1.2})).item()

    # the attack turns the sound's label around; what is left is the picture's own loss, 0.58
    assert attacked_loss(adversarial=True) < 0.65 * attacked_loss(adversarial=False)


# --- missing modalities ---


def test_modalities_are_dropped_as_often_as_asked_and_never_all():
    torch.manual_seed(0)
    dropout, chance = ModalityDropout(0.3).train(), 0.3
    inputs = [torch.ones(20_000, 2, 3), torch.ones(20_000, 4)]
    image, audio = dropout(inputs)
    there = np.stack([image.amax((1, 2)).numpy(), audio.amax(1).numpy()])
    assert set(np.unique(np.concatenate([image.numpy().ravel(), audio.numpy().ravel()]))) == {0.0, 1.0}
    assert (image.amax((1, 2)) == image.amin((1, 2))).all()  # whole samples
    assert there.any(0).all()
    only_one = chance * (1 - chance)  # both gone, with chance squared, means that both stay
    np.testing.assert_allclose((there == 0).mean(1), [only_one] * 2, atol=0.015)
    assert all(each.min() == 1 for each in inputs)


def test_nothing_is_dropped_in_eval_mode():
    inputs = [torch.randn(4, 2), torch.randn(4, 3)]
    assert all(a is b for a, b in zip(ModalityDropout(0.9).eval()(inputs), inputs, strict=True))


@pytest.mark.parametrize("chance", [-0.1, 1.0])
def test_a_chance_that_cannot_be_is_refused(chance):
    with pytest.raises(ValueError, match="expected 0 up to"):
        ModalityDropout(chance)


# --- ablations ---


def test_lines_of_a_report_leave_each_modality_alone_and_out():
    assert list(subsets(("image", "audio", "lidar"))) == [
        "all", "image alone", "audio alone", "lidar alone", "without image", "without audio", "without lidar",
    ]  # fmt: skip
    assert subsets(("image", "audio", "lidar"))["without audio"] == ("image", "lidar")


def test_ablations_tell_what_each_modality_knows():
    """The picture tells labels 0 and 1 from 2 and 3, the sound even from odd ones."""
    truth = np.arange(40) % 4
    image = torch.tensor(truth // 2 * 2 - 1.0)[:, None]
    audio = torch.tensor(truth % 2 * 2 - 1.0)[:, None]
    tilt = torch.tensor([0.3, 0.2, 0.1, 0.0])

    def logits(image, audio):
        return tilt + 4 * image * torch.tensor([-1.0, -1, 1, 1]) + 4 * audio * torch.tensor([-1.0, 1, -1, 1])

    scores = ablations(logits, {"image": image, "audio": audio}, truth)
    assert [each.accuracy for each in scores.values()] == [1.0, 0.5, 0.5]
    assert scores["image alone"].confusion == [[10, 0, 0, 0], [10, 0, 0, 0], [0, 0, 10, 0], [0, 0, 10, 0]]
    biased = ablations(logits, {"image": image, "audio": audio}, truth, {"audio": torch.ones(1)})
    assert biased["image alone"].confusion == [[0, 10, 0, 0], [0, 10, 0, 0], [0, 0, 0, 10], [0, 0, 0, 10]]
