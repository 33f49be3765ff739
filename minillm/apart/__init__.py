"""What could take forever, or all memory, is done in a process of its own, which then is what dies."""
