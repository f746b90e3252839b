"""One loop for full-batch and mini-batch, one process and many."""
