"""The learning-rate range test: which rates a configuration can be trained with."""
