"""Search over sparsity, learning rate, depth or any other field. A trial is a run on any number of ranks."""
