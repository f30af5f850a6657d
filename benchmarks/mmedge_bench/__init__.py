"""mmedge."""
