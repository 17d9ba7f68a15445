"""A stored run, looked at again."""
