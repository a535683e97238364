"""LM Studio's server."""
