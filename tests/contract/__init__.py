"""The contract, sentence by sentence, against real worker processes."""
