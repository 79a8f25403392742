"""Run folders as pandas tables, plots and notebooks."""
