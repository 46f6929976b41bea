"""The pod's program."""
