"""Tests that run again each time a file is saved."""
