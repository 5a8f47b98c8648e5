"""Published systems, run on twinlake."""
