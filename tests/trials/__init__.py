"""What users do to the program that could go wrong: each case says what is expected, and is tried on files it makes.

`python -m tests.trials` prints the table; `tests/test_trials.py` holds every case to it.
"""
