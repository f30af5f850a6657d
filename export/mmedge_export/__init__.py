"""From a PyTorch checkpoint to a bundle: trace, prove, split, prove again, pack."""

__all__ = ["save_checkpoint"]


def __getattr__(name: str) -> object:
    # torch takes a second to import, and half of this package does without it
    if name == "save_checkpoint":
        from mmedge_export.checkpoint import save_checkpoint

        return save_checkpoint
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
