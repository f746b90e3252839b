"""What is saved of a run, how it is written and found again, and the folder of the run."""
