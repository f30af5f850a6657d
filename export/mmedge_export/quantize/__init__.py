"""Smaller and faster variants of a bundle's graphs, measured against the fp32 ones; needs no torch."""
