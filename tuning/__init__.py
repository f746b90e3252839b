"""A search over sparsity, learning rate, depth or any other field: one trial is one run, on any number of ranks."""
