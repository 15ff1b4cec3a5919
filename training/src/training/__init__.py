"""Train, evaluate, gate and register scikit-learn models in MLflow."""
