"""The ARC browser: tasks and golden solutions as pages that a browser opens from a folder."""
