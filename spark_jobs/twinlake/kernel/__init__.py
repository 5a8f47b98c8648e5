"""The arithmetic that every engine shares, on numpy arrays. Imports numpy and nothing else."""
