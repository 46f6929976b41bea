"""Small implementations that are wrong on purpose, one flaw each: what an attack must succeed against."""
