"""A bounded reader of GGUF files, which trusts nothing in them."""
