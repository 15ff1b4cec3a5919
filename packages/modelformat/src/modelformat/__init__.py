"""The contract of docs/model-format.md in code: each fact of it once, for training, gate, gitops and serving."""
