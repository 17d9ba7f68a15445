"""A configuration as data: its identity, its rules, and what it may call."""
