"""`ugts doctor`: what this machine has, what of it works, and why the rest does not."""
