"""The modeller's side of the rounds of a task."""
