"""Golden solutions: one file per task id, read as text and run in the sandbox, never imported."""
