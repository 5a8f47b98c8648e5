"""Calling a model that answers elsewhere, over HTTP; no Spark."""
