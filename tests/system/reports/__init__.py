"""Reports in the programs that show them."""
