"""Examine a normalization layer: what is right, what is wrong, and how to fix it."""
