"""Everything at once, everything wrong, for minutes: `python -m tests.chaos --minutes 5 --seed 1`."""
