"""One hospital's EHR: log in over SMART on FHIR, find each patient, read the record."""
