import numpy as np
import pytest
from mmedge_export.reference.metrics import area_under_roc, score
from sklearn import metrics as reference


@pytest.fixture(params=range(3))
def decisions(request):
    random = np.random.default_rng(request.param)
    probability = random.dirichlet(np.ones(4), 300).round(2 if request.param else 6)  # rounding makes ties
    return random.integers(0, 4, 300), probability


def test_scores_agree_with_scikit_learn(decisions):
    truth, probability = decisions
    decision, scores = probability.argmax(1), score(truth, probability)
    precision, recall, f1, _ = reference.precision_recall_fscore_support(truth, decision, zero_division=0)
    assert scores.accuracy == pytest.approx(reference.accuracy_score(truth, decision))
    np.testing.assert_allclose([scores.precision, scores.recall, scores.f1], [precision, recall, f1])
    np.testing.assert_array_equal(scores.confusion, reference.confusion_matrix(truth, decision))
    expected = [reference.roc_auc_score(truth == label, probability[:, label]) for label in range(4)]
    np.testing.assert_allclose(scores.roc_auc, expected)


def test_label_that_is_never_decided_scores_zero():
    scores = score(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]))
    assert (scores.precision[1], scores.recall[1], scores.f1[1]) == (0.0, 0.0, 0.0)


def test_area_needs_positives_and_negatives():
    with pytest.raises(ValueError, match="positives and negatives"):
        area_under_roc(np.array([True, True]), np.array([0.1, 0.2]))
