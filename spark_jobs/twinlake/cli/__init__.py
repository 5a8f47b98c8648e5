"""The twinlake command."""
