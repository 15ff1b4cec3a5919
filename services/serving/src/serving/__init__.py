"""Prediction API for scikit-learn models registered in MLflow."""

import sys

# httpx imports its command line if that is installed. It is never used here, and would take 6 MB in every pod.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None makes the import fail
