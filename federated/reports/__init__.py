"""Pages over several sites: what they found together, in tables and charts."""
