"""Groundwork: execution-grounded AI research. CONTRIBUTING.md has a tour of this package."""
