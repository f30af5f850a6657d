"""The proof that a bundle computes what the model computes, also where one sensor's part is drowned by another's."""
