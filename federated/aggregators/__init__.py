"""How the pods' results become one: a weighted mean in the clear, or a masked sum."""
