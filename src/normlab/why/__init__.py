"""Why normalization helps, in measures and pictures of stored runs."""
