"""Memory of GPUs: which devices there are, who holds how much."""
