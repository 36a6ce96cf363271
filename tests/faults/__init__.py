"""The faults that no other test provokes, on real processes."""
