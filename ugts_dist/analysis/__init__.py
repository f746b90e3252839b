"""What a network does, beyond its accuracy: over-smoothing, gradients, unknown classes, noise, calibration."""
