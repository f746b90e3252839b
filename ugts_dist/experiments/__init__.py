"""Grids of runs: the demonstration, and the paper's tables and figures."""
