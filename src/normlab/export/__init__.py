"""Write the network of a stored run for other programs, and check what was written."""
