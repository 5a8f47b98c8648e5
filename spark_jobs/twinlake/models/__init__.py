"""Receipts, MLflow, XGBoost, scoring of arrays. No Spark."""

import os

# XGBoost's threads spin while they wait for each other. On cores shared with a JVM that costs more
# than the work itself: measured on two busy cores, 48 s for what takes 5 s when they sleep. OpenMP
# reads this once, when XGBoost is loaded, so it stands before every import of it here.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
