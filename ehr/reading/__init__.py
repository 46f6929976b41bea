"""Many patients, read side by side, stored as they are done."""
