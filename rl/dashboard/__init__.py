"""The page that shows a run: every state, token and rollout."""
