"""Groundwork: research ideas that are executed. The tour of this package is in CONTRIBUTING.md."""
