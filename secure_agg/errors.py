"""The errors of `secure_agg`, one small tree with its root here."""


class SecureAggError(Exception):
    """Root of the tree; messages never hold an update, a seed, a share or a key."""
