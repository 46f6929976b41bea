"""Screening at one site: trial file, plan, three-valued evaluation, evidence, and the files of a run."""
