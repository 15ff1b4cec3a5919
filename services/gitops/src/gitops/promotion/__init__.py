"""Promotion: what is proposed, what speaks for it, and what a pull request may change."""
