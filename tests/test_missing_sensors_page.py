"""The examples of docs/missing-sensors.md are run as they stand there."""

import re
from pathlib import Path

import numpy as np
import pytest

from mmedge.types import NS

PAGE = (Path(__file__).parents[1] / "docs/missing-sensors.md").read_text(encoding="utf-8")
POLICY, ATTRIBUTION, _ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(DECLARED,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def pictures():
    """Ten noisy ones that end at one second."""
    random = np.random.default_rng(4)
    return [(NS + (i - 9) * NS // 15, random.integers(0, 256, (240, 320, 3), dtype=np.uint8)) for i in range(10)]


@pytest.fixture
def beside_the_bundle(reference_bundle, tmp_path, monkeypatch):
    (tmp_path / "siren.mmedge").symlink_to(reference_bundle)
    monkeypatch.chdir(tmp_path)


def test_a_stream_without_sound_decides_as_the_page_says(beside_the_bundle, pictures, capsys):
    exec(POLICY, {"pictures": pictures})
    *decisions, health = capsys.readouterr().out.splitlines()
    assert len(decisions) == 3  # a window is eight pictures, and by then sound was waited for longer than 300 ms
    assert all("('audio: nothing came yet; its mean stands in',)" in decision for decision in decisions)
    assert health == "waiting healthy"


def test_attribution_costs_what_the_page_says(beside_the_bundle, pictures, capsys):
    sound = (0.05 * np.random.default_rng(4).standard_normal(16000)).astype(np.float32)
    exec(ATTRIBUTION, {"pictures": pictures, "second_of_sound": sound})
    decision, calls = capsys.readouterr().out.splitlines()
    assert "'image': " in decision
    assert "'audio': " in decision
    assert calls == "3"


def test_the_policy_of_the_page_can_be_declared():
    from mmedge_export.reference.dataset import spec_text
    from mmedge_export.spec import read_spec

    assert read_spec(spec_text() + DECLARED, "SPEC.toml").policies["audio"].missing == ("hold", "mean", "abstain")
