"""The reference model: an emergency vehicle, seen and heard from another vehicle."""
