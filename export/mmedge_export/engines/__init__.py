"""Engines of TensorRT and TensorRT-RTX from a bundle's graphs; needs neither torch nor onnx, and for RTX no GPU."""
