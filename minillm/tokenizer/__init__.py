"""Text to token ids and back, as a published folder says."""
