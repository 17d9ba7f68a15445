"""A search for the best settings: `hydra/sweeper=optuna`, see docs/how-to/search.md."""
