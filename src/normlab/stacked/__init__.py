"""Runs of a sweep that are trained as one stacked network."""
