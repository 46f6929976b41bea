"""The trial file: its grammar, its checks and what it means."""
