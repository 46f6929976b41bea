"""From the pod file to an EHR that is open and logged in to."""
