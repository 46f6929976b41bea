"""Who is meant: the person who is looked for, and which patient that is."""
