"""The `gitops` command: make a fork yours, bring the platform up, see and move what runs where."""
