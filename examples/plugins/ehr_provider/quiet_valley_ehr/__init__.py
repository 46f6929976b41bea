"""The invented EHR of Quiet Valley: a profile, and no code."""

from pathlib import Path

PROFILE = Path(__file__).with_name("profile.toml")
