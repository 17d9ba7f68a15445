"""Generators of the documentation: what the site shows is read from the code."""
