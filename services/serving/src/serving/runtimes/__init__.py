"""What computes predictions: one small interface, ONNX Runtime and scikit-learn behind it."""
