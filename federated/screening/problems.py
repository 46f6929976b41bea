"""What is wrong with a trial file, in the words of its author: as for a pod file, `ehr.problems`."""

from __future__ import annotations

from ehr.problems import FileErrors, Mark, Problem, Problems, quoted, suggestion

__all__ = ["Mark", "Problem", "Problems", "TrialFileErrors", "quoted", "suggestion"]


class TrialFileErrors(FileErrors):
    """A trial file, or a file it uses, has mistakes; all of them are listed."""
