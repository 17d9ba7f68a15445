"""normlab from Python and from notebooks: `run`, `sweep`, `load` and `swap`."""
