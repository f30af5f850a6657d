"""What the README shows is run as it stands there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MYMODEL = """
import torch
from torch import nn

class Doorbell(nn.Module):
    def __init__(self):
        super().__init__()
        self.see = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2))
        self.hear = nn.Conv1d(40, 8, 5)
        self.decide = nn.Linear(16, 3)

    def forward(self, image, audio):
        seen = self.see(image.flatten(0, 1)).mean((2, 3)).unflatten(0, (-1, 4)).amax(1)
        return self.decide(torch.cat([seen, self.hear(audio.transpose(1, 2)).mean(2)], 1))

def build():
    return Doorbell()
"""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "mymodel.py").write_text(MYMODEL)
    (tmp_path / "SPEC.toml").write_text(blocks("toml")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import mymodel

    torch.save(mymodel.build().state_dict(), "weights.pt")
    random = np.random.default_rng(1)
    sound = (0.1 * random.standard_normal((3, 8000))).astype(np.float32)
    np.savez("samples.npz", image=random.integers(0, 256, (3, 4, 80, 90, 3), dtype=np.uint8), audio=sound)
    yield tmp_path
    sys.modules.pop("mymodel")


def test_your_own_model_is_exported_inspected_and_streamed_as_shown(project, capsys):
    for line in blocks("bash")[1].strip().splitlines():
        command = [sys.executable, "-m", *line.partition("#")[0].split()]
        ended = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr

    def my_sensors():
        random = np.random.default_rng(2)
        for i in range(12):
            picture = random.integers(0, 256, (80, 90, 3), dtype=np.uint8)
            yield picture, (0.1 * random.standard_normal(1600)).astype(np.float32), i * 100_000_000

    exec(blocks("python")[0], {"my_sensors": my_sensors})
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 36  # from 0.5 s to 1.2 s at every hop of 20 ms
    assert all(line.split()[0] in {"nobody", "visitor", "parcel"} for line in lines)


def test_it_takes_less_than_forty_lines():
    shown = [line for block in (*blocks("toml"), blocks("bash")[1], *blocks("python")) for line in block.splitlines()]
    assert len([line for line in shown if line.strip()]) < 40


def test_the_scores_are_those_of_the_committed_evaluation():
    evaluation = json.loads((ROOT / "export/mmedge_export/reference/evaluation.json").read_text())
    sensors = evaluation["sensors"]
    for who in ("fusion", "camera only", "audio only"):
        assert f"{sensors[who]['accuracy']:.1%}" in README
    for i, label in enumerate(evaluation["labels"]):
        scores = [f"{sensors['fusion'][name][i]:.3f}" for name in ("precision", "recall", "f1", "roc_auc")]
        assert f"| {label} | " + " | ".join(scores) + " |" in README


def test_the_two_commands_are_targets_of_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in blocks("bash")[0].split("\n"):
        if line:
            assert line.split()[0] == "make"
            assert line.split()[1] in targets


def test_every_relative_link_leads_somewhere():
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / link).exists(), f"{document} links to {link}"


def test_every_command_is_named_as_it_is_called():
    known = {"export", "inspect", "run", "demo", "doctor", "check"}
    assert set(re.findall(r"`?mmedge ([a-z]+)", README)) & known >= {"export", "inspect", "run", "demo", "doctor"}
    for name in known:
        ended = subprocess.run([sys.executable, "-m", "mmedge", name, "--help"], capture_output=True, check=False)
        assert ended.returncode == 0
