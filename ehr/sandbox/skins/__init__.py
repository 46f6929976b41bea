"""One vendor's behaviour a file; each holds ``SKIN``."""
