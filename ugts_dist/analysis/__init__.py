"""Analyses of a network beyond its accuracy: over-smoothing, gradients, unknown classes, noise, calibration."""
