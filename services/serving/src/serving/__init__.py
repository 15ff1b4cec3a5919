"""Prediction API for scikit-learn models registered in MLflow."""

import sys

# httpx imports its command line where that can be had, and does without where not: 6 MB in every pod, for nothing.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None is how an import is made to fail
