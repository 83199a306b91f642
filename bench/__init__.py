"""Measurements of orbitd, each beside a hand-written worker on the same Postgres: `python -m bench` prints the table."""
