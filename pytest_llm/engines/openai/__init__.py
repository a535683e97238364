"""Servers that speak OpenAI's protocol, by URL."""
