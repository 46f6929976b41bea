"""Logging in: discovery, keys, token sources and the `httpx.Auth` that puts a token on a request."""
