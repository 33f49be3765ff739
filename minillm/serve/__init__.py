"""OpenAI's protocol over HTTP, and `AsyncLLM`."""
