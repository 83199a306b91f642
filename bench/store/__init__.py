"""orbitd's store beside its peers on one Postgres, in one run, in turns: `python -m bench.store` prints the tables."""
