"""The demonstration: four embedded eye clinics with synthetic patients, and one trial to screen them for.

`clinics/` and `trial.yaml` are data; `clinics/*/truth.json` says what must come out, computed by the script
that made the patients (`fixtures/clinic/make_clinics.py`), never by the engine.
"""
