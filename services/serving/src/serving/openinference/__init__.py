"""The Open Inference Protocol (KServe's V2) without HTTP: tensors, messages, and how they fit a model."""
