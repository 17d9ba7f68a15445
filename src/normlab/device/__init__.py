"""The device of a run and how a network is spread over several."""
