"""Single-token reinforcement learning: states, actions, rollouts, targets, one readable loop."""

__minillm__ = True
