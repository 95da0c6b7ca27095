"""The quality gate, and what makes a run's table the one readers see."""
