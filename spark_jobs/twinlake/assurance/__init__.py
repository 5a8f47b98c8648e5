"""Proof that offline and online agree."""
