"""Receipts, MLflow, XGBoost, scoring of arrays. No Spark."""
