"""A release's own change: the changelog's section and the versions, everywhere that they stand."""
