"""What modeller and pod both hold in their hands: the task, its envelope and its signatures."""
