"""Adding vectors from many parties so that only the sum is seen.

The masking protocol is not part of this release; the package holds its place and its error root, so
that the import layers are checked from the first day.
"""

from secure_agg.errors import SecureAggError

__all__ = ["SecureAggError"]
