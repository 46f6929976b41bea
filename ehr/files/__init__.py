"""What a person writes: the pod file, its rules and its mistakes."""
