"""Pure functions on floats: what samples say."""
