"""Promotion: what is proposed, the evidence for it, and what a pull request may change."""
