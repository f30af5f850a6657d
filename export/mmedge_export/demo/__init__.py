"""The whole way on a scene that it makes itself: clip, export, run, comparison, report."""
