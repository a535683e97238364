"""Servers: a process that serves one subject, and a client that streams its answers."""
