"""Which steps a task runs, and what crosses between pods and modeller."""
