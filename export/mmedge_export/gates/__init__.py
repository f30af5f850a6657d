"""Gates over the sensors in a model's graph: found by structure, proved by numbers, and given weights."""
