"""orbitd as a supervisor, beside gunicorn and PM2 in the same run: `python -m bench.supervision` prints the table."""
