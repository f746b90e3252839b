"""Graph data: named datasets, stores, the neighbour sampler and the loader around it."""
