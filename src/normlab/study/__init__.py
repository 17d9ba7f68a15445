"""Studies: a question, its plan, and the verdict."""
