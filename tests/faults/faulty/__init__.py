"""User code with faults, imported by workers and not by tests."""
