"""Load and save what others published: config, tensors, GGUF, adapters, the hub."""
