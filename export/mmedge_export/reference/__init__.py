"""The reference model: an emergency vehicle, seen and heard from another vehicle."""

from pathlib import Path

__all__ = ["CHECKPOINT"]

CHECKPOINT = Path(__file__).with_name("emergency.safetensors")
