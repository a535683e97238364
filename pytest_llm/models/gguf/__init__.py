"""Bounded reader of untrusted GGUF files."""
