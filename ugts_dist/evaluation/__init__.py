"""Exact evaluation over all nodes, layer by layer, shared over the ranks."""
