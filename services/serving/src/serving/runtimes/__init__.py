"""The runtimes that compute predictions: one small interface, with ONNX Runtime and scikit-learn behind it."""
