"""Prediction API for scikit-learn models registered in MLflow."""
