"""Adapters: what one vendor's EHR can be asked, and how. The only place that knows vendors' names."""
