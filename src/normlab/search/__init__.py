"""A search for the best settings: `hydra/sweeper=optuna`, see docs/SEARCH.md."""
