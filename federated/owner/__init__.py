"""What a pod's owner lets happen, and the books that are kept of it."""
