"""The trial-criteria engine: file, plan, three-valued evaluation, evidence, funnel. Pure: no I/O."""
