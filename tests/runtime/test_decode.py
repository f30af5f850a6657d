"""Outputs from raw tensors, against the same in double precision."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mmedge.decode import FEW, activate, decode
from mmedge.manifest import Output

EVENT = Output(tensor="y", task="classification", labels=("a", "b", "c"), activation="softmax")


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (1, FEW), (1, FEW + 1), (1, 1000), (1, 3, 5)])
@pytest.mark.parametrize("scale", [1.0, 300.0])  # exp(300) is more than float32 holds
def test_a_softmax_is_the_same_for_few_values_and_for_many(shape, scale):
    raw = (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)
    powers = np.exp(raw[0].astype(np.float64) - raw[0].max(axis=-1, keepdims=True))
    values = activate(raw, EVENT)
    assert values.dtype == np.float32
    # float32 rounds the sum of so many powers, and every quotient: a few units in the last place
    assert_allclose(values, powers / powers.sum(axis=-1, keepdims=True), rtol=2e-6, atol=1e-30)


def test_a_nan_in_a_softmax_leaves_no_answer():
    for place in range(3):
        raw = np.zeros((1, 3), np.float32)
        raw[0, place] = np.nan
        assert np.isnan(activate(raw, EVENT)).all()


def test_the_outputs_of_a_decision_are_its_own():
    tensor = np.array([[0, 2, 1]], np.float32)
    outputs, labels = decode({"y": tensor}, {"event": EVENT, "raw": Output(tensor="y", task="embedding")})
    assert labels == {"event": "b"}
    tensor[:] = 9
    assert outputs["raw"].tolist() == [0, 2, 1]
