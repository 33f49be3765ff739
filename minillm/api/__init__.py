"""What a user writes and reads: sampling parameters, structured outputs, outputs."""
