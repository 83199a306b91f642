"""`orbitctl`: what an operator types."""
