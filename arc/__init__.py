"""ARC-AGI tasks as problems for single-token RL: tasks, prompts, golden solutions and a sandbox, no torch."""

__minillm__ = True
