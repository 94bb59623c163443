"""Formulas in an answer, however their powers are written: O(n log n), 2^n, n²."""

import re

_TERM = re.compile(r"[^\s()]*\([^()]*\)|[^\s^]*\^[^\s.,;]+")
_FUNCTION = re.compile(r"(?<![A-Za-z])[A-Za-z]\(|\^[A-Za-z(]|(?<![A-Za-z])[a-ln-zA-LN-Z]\^")  # O(n), 2^n, n^2; not m^2
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ]+")
_PLAIN = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ", "0123456789n", "$\\{}")


def flatten_powers(text: str) -> str:
    """The text with every power written as in n^2, and without the signs of TeX."""
    return _RAISED.sub(r"^\g<0>", text.replace("**", "^")).translate(_PLAIN)


def is_formula(flat: str) -> bool:
    return _TERM.fullmatch(flat) is not None and _FUNCTION.search(flat) is not None


def list_formulas(flat: str) -> list[str]:
    return [term for term in _TERM.findall(flat) if _FUNCTION.search(term)]


def has_formula(formula: str, flat: str) -> bool:
    """Whether a text has this formula, with whatever blanks within it."""
    letters = r"\s*".join(map(re.escape, re.sub(r"\s", "", formula)))
    return re.search(rf"(?<![\w^]){letters}(?![\w^])", flat) is not None
