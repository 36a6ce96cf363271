"""Measures axon-port beside every other way to reach the same agents: `python -m tests.bench`.

`scenes` is what is asked and answered, `task` a measurement as data, `driver` the one loop that asks, `peers` those who
answer, `workloads` what is asked of them, `targets` what is wanted of the figures, `report` and `chart` how they are
told.
"""
