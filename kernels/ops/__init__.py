"""What the model calls. A file an operation: argument checks, `torch.library` op, fake and gradient."""
