"""Benchmarks: ratios against peers in one run, never a timed test."""
