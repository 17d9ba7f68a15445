"""Predict new samples with a stored run, without its data set."""
