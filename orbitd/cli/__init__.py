"""`orbitd`: what an operator types to run it, and to look at its configuration before."""
