"""Checkpoints of small models, with their specs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint of a model with random weights and its spec inside."""

    def write(factory: str, **spec: Any) -> Path:
        import fusion_models
        import torch
        from mmedge_export.checkpoint import save_checkpoint

        torch.manual_seed(3)
        name, _, argument = factory.partition(" ")
        model = getattr(fusion_models, name)(*([argument] if argument else []))
        path = tmp_path / f"{name}.safetensors"
        save_checkpoint(path, model, fusion_models.spec_text(factory, **spec))
        return path

    return write
