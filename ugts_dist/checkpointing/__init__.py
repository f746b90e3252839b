"""What a run saves, how it is written and found again, and the run folder."""
