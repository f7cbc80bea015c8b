"""Evidently's statistics from a reference that is prepared once: pure functions, no Evidently."""
