"""What features are: pure data, standard library only."""
