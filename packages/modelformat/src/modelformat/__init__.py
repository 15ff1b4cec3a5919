"""The contract of docs/model-format.md in code, shared by training, the gate, gitops and serving."""
