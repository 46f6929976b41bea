"""FHIR R4 over one transport: search with a completeness statement, typed reading, finding a patient."""
