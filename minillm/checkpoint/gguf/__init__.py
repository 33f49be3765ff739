"""GGUF files, as llama.cpp has them, made folders that `load_model` reads."""
