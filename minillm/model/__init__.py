"""One forward for training and serving: `Transformer` and what it is made of."""
