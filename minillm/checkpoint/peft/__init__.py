"""Adapters that PEFT wrote: what their files say, and where their tensors belong."""
