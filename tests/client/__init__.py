"""The parent's side in Python: its session without I/O, its worker with real processes and with false ones."""
