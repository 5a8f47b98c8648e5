"""XGBoost, loaded so that its threads sleep while they wait for each other.

By default they spin. On cores shared with a JVM that costs more than the work itself: measured on
two busy cores, 48 s for what takes 5 s when they sleep. OpenMP reads the setting once, when XGBoost
is loaded, so everything here imports it from this module.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import xgboost as xgb

__all__ = ["xgb"]
