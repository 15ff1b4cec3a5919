"""The Open Inference Protocol (KServe's V2) without HTTP: tensors, messages, and what they mean to a model."""
