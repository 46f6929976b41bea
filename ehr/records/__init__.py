"""What a record is: the FHIR R4 types, and what came back for each kind."""
