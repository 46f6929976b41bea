"""The one HTTP policy: where requests may go, how often, how long, how large, and what is logged."""
