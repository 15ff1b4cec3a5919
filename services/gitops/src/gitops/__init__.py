"""The `gitops` command: set up a fork, bring up the platform, and show and change what runs where."""
