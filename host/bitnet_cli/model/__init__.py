"""The model as the host knows it: file, tokenizer, reply grammar, features, and the oracle in NumPy."""
