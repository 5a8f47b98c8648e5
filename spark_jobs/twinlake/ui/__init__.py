"""The pages of a project in a browser: decisions, catalogue, training sets, checks, streams."""
