"""The control socket: its commands, its wire format, its server in the arbiter and its client in `orbitctl`."""
