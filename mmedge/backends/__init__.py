"""What runs a stage's graph: one module per library, none knows another."""
