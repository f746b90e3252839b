"""Graph data: named datasets, the neighbour sampler and the loader around it."""
