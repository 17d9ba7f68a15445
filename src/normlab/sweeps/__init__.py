"""Sweeps: jobs from a grid, where they run, and what is shown of them."""
