"""Searches over sparsity, learning rate and depth."""
