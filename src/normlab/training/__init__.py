"""One configuration to one result."""
