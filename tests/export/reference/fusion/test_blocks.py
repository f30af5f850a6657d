"""Each block against a reference that was written without it: numpy, explicit probabilities, or a formula."""

import numpy as np
import pytest
import torch
from mmedge_export.reference.fusion.attention import BottleneckFusion, CoAttention, CrossAttention
from mmedge_export.reference.fusion.early import ChannelConcatenation, TokenConcatenation, patches
from mmedge_export.reference.fusion.late import Hybrid, ProductOfExperts, ScoreAverage
from mmedge_export.reference.fusion.products import (
    Concatenation,
    DotProduct,
    LowRankBilinear,
    LowRankTensorFusion,
    TensorFusion,
)
from mmedge_export.reference.fusion.sums import GatedSum, WeightedSum
from torch import nn

BATCH, WIDTH = 5, 8
ROUNDING = 1e-12  # everything is computed in float64


@pytest.fixture(autouse=True)
def float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def vectors(*sizes):
    return [torch.randn(BATCH, size) for size in sizes]


def check(given, expected):
    np.testing.assert_allclose(given.detach().numpy(), expected, rtol=0, atol=ROUNDING)


def arrays(module):
    return {name: each.detach().numpy() for name, each in module.named_parameters()}


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def dense(weights, name, x):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


# --- early ---


def test_the_sound_becomes_the_last_channel_of_every_picture():
    window, sound = torch.randn(2, 3, 3, 4, 6), torch.randn(2, 8, 12)
    joined = ChannelConcatenation()(window, sound)
    assert joined.shape == (2, 3, 4, 4, 6)
    check(joined[:, :, :3], window.numpy())
    for t in range(3):  # 8 x 12 values on 4 x 6 places: the nearest is every second
        check(joined[:, t, 3], sound[:, ::2, ::2].numpy())


def test_items_are_filled_with_zeros_and_keep_their_modality():
    block = TokenConcatenation((3, 5))
    first, second = torch.randn(2, 4, 3), torch.randn(2, 7, 5)
    joined, kind = block(first, second), arrays(block)["kind"]
    assert joined.shape == (2, 11, 5)
    check(joined[:, :4], np.concatenate([first.numpy(), np.zeros((2, 4, 2))], 2) + kind[0])
    check(joined[:, 4:], second.numpy() + kind[1])


def test_patches_are_cut_row_by_row():
    window = torch.randn(2, 3, 3, 4, 6)
    cut = patches(window, 2)
    assert cut.shape == (2, 18, 12)
    check(cut[1, 6 + 4], window[1, 1, :, 2:4, 2:4].numpy().ravel())  # picture 1, row 1, column 1


# --- late ---


def test_score_average_is_the_mean_of_the_probabilities():
    logits = [3 * x for x in vectors(4, 4, 4)]
    expected = np.mean([softmax(each.numpy()) for each in logits], axis=0)
    check(torch.softmax(ScoreAverage()(*logits), 1), expected)
    check(torch.exp(ScoreAverage()(*logits)), expected)


def test_product_of_experts_multiplies_probabilities():
    logits = [3 * x for x in vectors(4, 4, 4)]
    product = np.prod([softmax(each.numpy()) for each in logits], axis=0)
    check(torch.exp(ProductOfExperts()(*logits)), product / product.sum(1, keepdims=True))


def test_product_of_experts_is_bayes_rule_for_independent_sensors():
    random = np.random.default_rng(0)
    prior = np.array([0.7, 0.2, 0.1])
    likely = [random.dirichlet(np.ones(size), 3) for size in (4, 6)]  # p(reading | label) of two sensors
    joint = prior[:, None, None] * likely[0][:, :, None] * likely[1][:, None, :]
    posterior = joint / joint.sum(0)
    own = [(prior[:, None] * each) / (prior @ each) for each in likely]  # p(label | reading)
    for a in range(4):
        for b in range(6):
            logits = [torch.tensor(np.log(each[:, i]))[None] + 3 for each, i in zip(own, (a, b), strict=True)]
            check(torch.exp(ProductOfExperts(prior.tolist())(*logits))[0], posterior[:, a, b])


def test_hybrid_averages_a_joint_opinion_and_the_modalities_own():
    block, given = Hybrid((3, 4), WIDTH, 5), vectors(3, 4)
    w, x = arrays(block), [each.numpy() for each in given]
    joint = dense(w, "joint.2", np.maximum(dense(w, "joint.0", np.concatenate(x, 1)), 0))
    opinions = [joint, dense(w, "own.0", x[0]), dense(w, "own.1", x[1])]
    check(torch.exp(block(*given)), np.mean([softmax(each) for each in opinions], axis=0))


# --- sums ---


def test_weighted_sum_is_what_its_importance_says():
    block, given = WeightedSum((3, 4, 2), WIDTH), vectors(3, 4, 2)
    with torch.no_grad():
        block.weight.copy_(torch.tensor([1.0, -1.0, 0.5]))
    w = arrays(block)
    shares = softmax(np.array([1.0, -1.0, 0.5]))
    check(block.importance, shares)
    check(block(*given), sum(shares[m] * dense(w, f"project.{m}", given[m].numpy()) for m in range(3)))


def test_gated_sum_of_two_is_the_paper_s_unit():
    block, given = GatedSum((3, 4), WIDTH), vectors(3, 4)
    w, x = arrays(block), [each.numpy() for each in given]
    h = [np.tanh(dense(w, f"value.{m}", x[m])) for m in range(2)]
    gates = dense(w, "gate", np.concatenate(x, 1))
    z = 1 / (1 + np.exp(-(gates[:, :WIDTH] - gates[:, WIDTH:])))  # one sigmoid: the difference of the two gates
    fused, importance = block(*given)
    check(fused, z * h[0] + (1 - z) * h[1])
    check(importance, np.stack([z.mean(1), 1 - z.mean(1)], 1))


# --- products ---


def test_concatenation_is_a_layer_over_all():
    block, given = Concatenation((3, 4), WIDTH), vectors(3, 4)
    both = np.concatenate([each.numpy() for each in given], 1)
    check(block(*given), np.maximum(dense(arrays(block), "layer.0", both), 0))


def test_dot_products_are_taken_head_by_head():
    block, (a, b) = DotProduct((3, 4), heads=2, rank=5), vectors(3, 4)
    w = arrays(block)
    u, v = (w[f"{name}.weight"].reshape(2, 5, -1) for name in ("first", "second"))
    check(block(a, b), np.einsum("hrf,bf,hrg,bg->bh", u, a.numpy(), v, b.numpy()) / np.sqrt(5))


def test_low_rank_bilinear_is_a_bilinear_form_of_that_rank():
    block, (a, b) = LowRankBilinear((6, 7), WIDTH, rank=3), vectors(6, 7)
    w = arrays(block)
    forms = np.einsum("dr,rf,rg->dfg", w["mix.weight"], w["first.weight"], w["second.weight"])
    check(block(a, b), np.einsum("bf,dfg,bg->bd", a.numpy(), forms, b.numpy()) + w["mix.bias"])
    assert np.linalg.matrix_rank(forms.reshape(-1, 7)) == 3


def with_one(x):
    return np.concatenate([np.ones((len(x), 1)), x.numpy()], 1)


def test_tensor_fusion_is_a_layer_over_the_outer_product():
    block, given = TensorFusion((2, 3, 4), WIDTH), vectors(2, 3, 4)
    w, (a, b, c) = arrays(block), map(with_one, given)
    weight = w["layer.weight"].reshape(WIDTH, 3, 4, 5)
    check(block(*given), np.einsum("dijk,bi,bj,bk->bd", weight, a, b, c) + w["layer.bias"])


def test_low_rank_tensor_fusion_is_tensor_fusion_with_factored_weights():
    rank, given = 3, vectors(2, 3, 4)
    block, full = LowRankTensorFusion((2, 3, 4), WIDTH, rank), TensorFusion((2, 3, 4), WIDTH)
    w = arrays(block)
    factors = [
        np.concatenate([w[f"factors.{m}.bias"][:, None], w[f"factors.{m}.weight"]], 1).reshape(rank, WIDTH, -1)
        for m in range(3)
    ]
    weight = np.einsum("r,rdi,rdj,rdk->dijk", w["share"], *factors).reshape(WIDTH, -1)
    with torch.no_grad():
        full.layer.weight.copy_(torch.tensor(weight))
        full.layer.bias.copy_(block.bias)
    check(block(*given), full(*given).detach().numpy())


# --- attention ---


def normalised(w, name, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def looked_up(w, tokens, context, heads):
    """Cross-attention with a loop over the heads."""
    q, k, v = (
        x @ part.T + bias
        for x, part, bias in zip(
            (normalised(w, "before", tokens), *2 * [normalised(w, "context", context)]),
            np.split(w["attention.in_proj_weight"], 3),
            np.split(w["attention.in_proj_bias"], 3),
            strict=True,
        )
    )
    size = WIDTH // heads
    found = []
    for head in range(heads):
        part = np.s_[..., head * size : (head + 1) * size]
        found.append(softmax(q[part] @ k[part].swapaxes(1, 2) / np.sqrt(size)) @ v[part])
    known = tokens + dense(w, "attention.out_proj", np.concatenate(found, -1))
    hidden = np.maximum(dense(w, "feed.1", normalised(w, "feed.0", known)), 0)
    return known + dense(w, "feed.3", hidden)


def randomise(module):
    with torch.no_grad():
        for each in module.parameters():
            each.copy_(torch.randn_like(each) * 0.5)
    return module.eval()


@pytest.mark.parametrize("heads", [1, 2])
def test_cross_attention_is_the_formula(heads):
    block = randomise(CrossAttention(WIDTH, heads))
    tokens, context = torch.randn(2, 3, WIDTH), torch.randn(2, 6, WIDTH)
    expected = looked_up(arrays(block), tokens.numpy(), context.numpy(), heads)
    np.testing.assert_allclose(block(tokens, context).detach().numpy(), expected, rtol=0, atol=1e-10)


def test_co_attention_looks_both_ways_at_once():
    block = randomise(CoAttention(WIDTH))
    a, b = torch.randn(2, 3, WIDTH), torch.randn(2, 6, WIDTH)
    first, second = block(a, b)
    check(first, block.first(a, b).detach().numpy())
    check(second, block.second(b, a).detach().numpy())  # the b of before, not what it became


def test_bottleneck_layers_are_transformer_layers_with_a_shared_mean():
    block = randomise(BottleneckFusion(2, WIDTH, layers=2))
    a, b = torch.randn(2, 3, WIDTH), torch.randn(2, 6, WIDTH)
    shared, expected = block.bottleneck.expand(2, -1, -1), [a, b]
    for row in block.layers:
        both = [layer(torch.cat([own, shared], 1)) for layer, own in zip(row, expected, strict=True)]
        expected = [both[0][:, :3], both[1][:, :6]]
        shared = (both[0][:, 3:] + both[1][:, 6:]) / 2
    for given, wanted in zip(block(a, b), expected, strict=True):
        check(given, wanted.detach().numpy())


@pytest.mark.parametrize(("layers", "exchanged"), [(1, False), (2, True)])
def test_nothing_passes_the_bottleneck_in_its_first_layer(layers, exchanged):
    block = randomise(BottleneckFusion(2, WIDTH, layers=layers))
    a, b = torch.randn(2, 3, WIDTH), torch.randn(2, 6, WIDTH)
    changed = (block(a, b)[0] - block(a, torch.randn_like(b))[0]).abs().max().item()
    assert (changed > 1e-3) == exchanged


def test_blocks_of_vectors_take_three_modalities_where_they_say_so():
    for block in (
        Concatenation((2, 3, 4), WIDTH),
        TensorFusion((2, 3, 4), WIDTH),
        LowRankTensorFusion((2, 3, 4), WIDTH, 2),
        Hybrid((2, 3, 4), WIDTH, WIDTH),
    ):
        assert block(*vectors(2, 3, 4)).shape == (BATCH, WIDTH)
    fused, importance = GatedSum((2, 3, 4), WIDTH)(*vectors(2, 3, 4))
    assert fused.shape == (BATCH, WIDTH)
    check(importance.sum(1), np.ones(BATCH))


def test_every_block_learns():
    """Every parameter of every block gets a gradient."""
    tokens = torch.randn(2, 3, WIDTH), torch.randn(2, 6, WIDTH)
    pair = tokens[0].mean(1), tokens[1].mean(1)
    blocks: list[tuple[nn.Module, tuple]] = [
        (WeightedSum((WIDTH, WIDTH), 4), pair),
        (GatedSum((WIDTH, WIDTH), 4), pair),
        (DotProduct((WIDTH, WIDTH), 4, 3), pair),
        (LowRankBilinear((WIDTH, WIDTH), 4, 3), pair),
        (TensorFusion((WIDTH, WIDTH), 4), pair),
        (LowRankTensorFusion((WIDTH, WIDTH), 4, 3), pair),
        (Hybrid((WIDTH, WIDTH), 4, 3), pair),
        (CoAttention(WIDTH), tokens),
        (BottleneckFusion(2, WIDTH), tokens),
    ]
    for block, given in blocks:
        made = block(*given)
        sum((each**3).sum() for each in (made if isinstance(made, tuple) else (made,))).backward()
        idle = [name for name, each in block.named_parameters() if each.grad is None or not each.grad.any()]
        assert not idle, type(block).__name__
