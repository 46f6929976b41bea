"""What is trained, evaluated and asked for predictions, behind one small interface."""
