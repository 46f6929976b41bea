"""Three values for each criterion, with the evidence."""
