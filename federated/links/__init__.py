"""How messages travel between the modeller and the pods."""
