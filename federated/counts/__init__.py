"""Counts that may leave a site: cells, suppression, differencing, sums."""
