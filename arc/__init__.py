"""ARC-AGI tasks as a problem for single-token RL: the tasks, the prompt a model reads, the
sandbox that runs the Python a model writes, and the checker of the golden solutions. These parts
know nothing of models or tensors; only `arc.train` and `arc.evaluate` join them to a model."""

__minillm__ = True
