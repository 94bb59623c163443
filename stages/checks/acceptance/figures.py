"""What the log-probabilities of two engines come to, and the findings about an adapter. No torch, no server.

All distances are mean absolute differences of log-probabilities, in nats a token, over the same tokens.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.checks.finding import Finding

NOISE_FLOOR = 1e-3  # nats a token: what float16 makes of an adapter's weights, in engines that agree otherwise
_TOLERANCE = 2.0  # of the noise between the engines without adapters
_LEAST = -50.0  # nats: below it probabilities are zero in some engines, a very small number in others
_SIGNIFICANT = 0.05  # two-sided
_LEAST_QUESTIONS = 6  # all of which must change for an exact test to notice: 2 · 0.5 ** 6 < 0.05
CHECKS = ("base", "applied", "right one", "trained")
REQUIRED = ("base", "applied", "trained")  # checks without which nothing is accepted
Rows = Sequence[Sequence[float]]  # of each probe, the log-probabilities of its measured tokens


@dataclass(frozen=True)
class Readings:
    """The log-probabilities of the probes: the reference's plain, with the adapter, with half of it, with each other.

    `engine_plain`: the tested engine's without the adapter; None where it cannot be asked.
    """

    plain: Rows
    adapted: Rows
    halved: Rows
    others: Mapping[str, Rows]
    engine_adapted: Rows
    engine_plain: Rows | None = None


@dataclass(frozen=True)
class Figures:
    """The distances, in nats a token. `noise`: the engines', without the adapter; `error`: with it.

    `effect`: of the adapter in the reference; `engine_effect`: in the engine. `halved`: what a halved alpha changes in
    the reference. `others`: the tested engine's to each other adapter in the reference.
    """

    tokens: int
    noise: float | None
    effect: float
    halved: float
    engine_effect: float
    error: float
    others: Mapping[str, float]


def count_alike(one: Rows, other: Rows) -> bool:
    """True if both are about equally many tokens of each text."""
    return [len(row) for row in one] == [len(row) for row in other]


def measure_distance(one: Rows, other: Rows) -> float:
    """Return the mean absolute difference, in nats a token. Raises ValueError for other tokens."""
    pairs = [pair for rows in zip(one, other, strict=True) for pair in zip(*rows, strict=True)]
    return sum(abs(max(a, _LEAST) - max(b, _LEAST)) for a, b in pairs) / len(pairs)


def compute_figures(told: Readings) -> Figures:
    """Return the distances between what was told. Raises ValueError for readings of other tokens."""
    plain = told.plain if told.engine_plain is None else told.engine_plain
    return Figures(
        tokens=sum(map(len, told.plain)),
        noise=None if told.engine_plain is None else measure_distance(told.engine_plain, told.plain),
        effect=measure_distance(told.adapted, told.plain),
        halved=measure_distance(told.halved, told.adapted),
        engine_effect=measure_distance(told.engine_adapted, plain),
        error=measure_distance(told.engine_adapted, told.adapted),
        others={name: measure_distance(told.engine_adapted, rows) for name, rows in told.others.items()},
    )


def judge_figures(found: Figures, no_plain: str = "") -> list[Finding]:
    """Return the findings of CHECKS. `no_plain`: why the engine was not asked without the adapter."""
    noise = NOISE_FLOOR if found.noise is None else max(found.noise, NOISE_FLOOR)
    base = _judge_base(found, noise, no_plain)
    return [base, _judge_applied(found, noise), _judge_right(found), _judge_trained(found, noise, base.ok, no_plain)]


def _judge_base(found: Figures, noise: float, no_plain: str) -> Finding:
    if found.noise is None:
        return Finding("base", None, f"the engine was not asked without the adapter: {no_plain}")
    told = f"{found.noise:.2g} nats a token from the reference without adapters"
    if noise == NOISE_FLOOR or _TOLERANCE * noise < found.halved:
        return Finding("base", True, told)
    less = f"{told}; twice that hides a halved alpha, which changes {found.halved:.2g}"
    advice = "serve the model that it was trained on, less coarsely quantised; or compare other texts: --texts FILE"
    return Finding("base", False, less, advice)


def _judge_applied(found: Figures, noise: float) -> Finding:
    told = f"moves the engine by {found.engine_effect:.2g} nats a token, the reference by {found.effect:.2g}"
    if found.effect <= _TOLERANCE * NOISE_FLOOR:
        advice = "is it zeroed, or about other texts? see its training, or give --texts FILE"
        return Finding("applied", False, f"the adapter moves the reference by {found.effect:.2g} nats a token", advice)
    if found.engine_effect > _TOLERANCE * noise:
        return Finding("applied", True, told)
    return Finding("applied", False, f"{told}: as if there were none", "see that the engine has loaded and applies it")


def _judge_right(found: Figures) -> Finding:
    if not found.others:
        return Finding("right one", None, "there is no other adapter to tell it from; give --among DIR, or lines")
    nearest = min(found.others, key=lambda name: found.others[name])
    told = f"{found.error:.2g} nats a token from it, {found.others[nearest]:.2g} from {nearest}"
    if found.error < found.others[nearest]:
        return Finding("right one", True, f"{told}, the nearest of {len(found.others)} others")
    return Finding("right one", False, told, f"the engine has {nearest} under its name, or none of both: load it again")


def _judge_trained(found: Figures, noise: float, base: bool | None, no_plain: str) -> Finding:
    told = f"{found.error:.2g} nats a token from the reference with the adapter"
    if base is None:
        return Finding("trained", None, f"{told}; the noise is not known: {no_plain}")
    if not base:
        return Finding("trained", None, f"{told}; the engines differ too much without it")
    if found.error <= _TOLERANCE * noise:
        return Finding("trained", True, f"{told}, at most twice the noise of {noise:.2g}")
    share = f"moves the engine by {found.engine_effect:.2g} instead of {found.effect:.2g}"
    advice = "compare alpha, rank and the number of layers of what the engine has; convert it again"
    return Finding("trained", False, f"{told}, more than twice the noise of {noise:.2g}; it {share}", advice)


# ---- exams


@dataclass(frozen=True)
class ExamResult:
    """Verdicts on the same questions, before (in the reference, or on a line) and in the engine; None: unscored."""

    before: Sequence[bool | None]
    now: Sequence[bool | None]
    recorded: bool  # `before` is what a line says


def judge_exam(found: ExamResult) -> Finding:
    """Compare accuracy by the exact paired test of McNemar: only questions that changed say something."""
    pairs = [(a, b) for a, b in zip(found.before, found.now, strict=True) if a is not None and b is not None]
    if len(pairs) < _LEAST_QUESTIONS:
        told = f"{len(pairs)} scored questions; a test needs at least {_LEAST_QUESTIONS}"
        return Finding("accuracy", None, told)
    lost, won = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    chance = compute_sign_test(lost, won)
    before, now = (sum(each[i] for each in pairs) / len(pairs) for i in (0, 1))
    source = "on its lines" if found.recorded else "in the reference"
    told = f"{100 * now:.1f} % of {len(pairs)} questions, {100 * before:.1f} % {source}; {lost} lost, {won} won"
    if chance >= _SIGNIFICANT:
        return Finding("accuracy", True, f"{told} (p = {chance:.2g})")
    return Finding("accuracy", False, f"{told} (p = {chance:.2g})", "take a finer quantisation, or convert it again")


def compute_sign_test(lost: int, won: int) -> float:
    """Return the two-sided probability of so uneven a split, or a more uneven one, where both are equally likely."""
    count, least = lost + won, min(lost, won)
    return min(1.0, 2.0 * sum(math.comb(count, number) for number in range(least + 1)) / float(2**count))


def is_accepted(findings: Sequence[Finding]) -> bool:
    """True if nothing failed and all that is required was tried: what cannot be tried is not passed."""
    passed = {finding.check for finding in findings if finding.ok}
    return set(REQUIRED) <= passed and all(finding.ok is not False for finding in findings)
