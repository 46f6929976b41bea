"""What is asked of an EHR for a trial."""
