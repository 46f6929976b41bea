"""The modeller's program."""
