"""Front ends: raw pictures and sound become the tensors that a model was trained on, in numpy and OpenCV."""
