"""The units that a task names: one module a component, with its worker side and its modeller side."""
