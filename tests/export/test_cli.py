import json
import shutil
import subprocess
import sys
from pathlib import Path

import fusion_models
import numpy as np
import pytest
import torch


@pytest.fixture
def project(tmp_path):
    """What a user has: code, weights, a spec, and a few recordings."""
    shutil.copy(Path(fusion_models.__file__), tmp_path / "mycode.py")
    spec = fusion_models.spec_text("late").replace("fusion_models:", "mycode:")
    (tmp_path / "SPEC.toml").write_text(spec)
    torch.save(fusion_models.late().state_dict(), tmp_path / "weights.pt")
    random = np.random.default_rng(2)
    images = random.integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    np.savez(tmp_path / "samples.npz", image=images, audio=(0.1 * random.standard_normal((3, 8000))).astype(np.float32))
    return tmp_path


def mmedge(*arguments, cwd):
    command = [sys.executable, "-m", "mmedge", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_a_users_own_model_goes_all_the_way(project):
    ended = mmedge("export", "weights.pt", "-o", "my.mmedge", "--samples", "samples.npz", cwd=project)
    assert ended.returncode == 0, ended.stderr
    assert "3 stages: image, audio, head" in ended.stdout
    assert "comparisons hold, on 3 real samples" in ended.stdout
    assert "look at my.mmedge/reports/parity.html" in ended.stdout
    assert "proving parity" in ended.stderr  # progress
    assert "Warning" not in ended.stderr
    checked = mmedge("check", "my.mmedge", "--json", cwd=project)
    assert json.loads(checked.stdout)["passed"] is True


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["weights.pt", "-o", "x.mmedge"], "give --samples FILE.npz"),
        (["nothing.pt", "-o", "x.mmedge"], "nothing.pt does not exist"),
        (["weights.pt", "-o", "no/such/x.mmedge"], "no/such is not a folder"),
        (["pickled.pt", "-o", "x.mmedge"], "--trust-pickle"),
        (["weights.pt"], "Missing option"),
    ],
)
def test_a_mistake_is_one_line_and_status_1_and_leaves_nothing(project, arguments, text):
    torch.save(fusion_models.late(), project / "pickled.pt")
    before = sorted(project.iterdir())
    ended = mmedge("export", *arguments, cwd=project)
    assert ended.returncode == 1
    assert text in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert sorted(path for path in project.iterdir() if path.name != "__pycache__") == before
