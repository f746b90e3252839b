"""Training: one loop for full batches and mini-batches, one process and many."""
