"""Fusion blocks, encoders, and what trains them: plain modules to read, to copy from, and to export."""
