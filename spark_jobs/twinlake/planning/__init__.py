"""Which work is due: intervals, plan, explanation. Pure functions."""
