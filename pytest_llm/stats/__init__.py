"""Pure functions on floats: tests, estimates and intervals."""
