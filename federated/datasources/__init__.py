"""What a pod may read beside its EHR."""
