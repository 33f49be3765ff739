"""From requests to tokens: scheduler, pages of the KV cache, decode steps, sampler."""
