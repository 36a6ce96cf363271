"""What holds for every input: Hypothesis, bounded and derandomized."""
