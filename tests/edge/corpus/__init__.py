"""Requests as a careless or hostile client writes them: one module a class, each case with the rule behind it."""

from tests.edge.corpus import chunks, codings, fields, lengths, lines, pipelines, targets
from tests.edge.corpus.case import Case

__all__ = ["CORPUS", "Case"]

CORPUS: list[Case] = [
    case for module in (lengths, codings, chunks, lines, targets, fields, pipelines) for case in module.CASES
]
