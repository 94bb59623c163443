"""Forecasts and accounts in words: `250 requests, 33,000 tokens in, 12 s to load, 65 s of work, 0.5 GB of memory`."""

from collections.abc import Iterator, Mapping
from typing import Any


def describe_counts(counts: Mapping[str, Any]) -> str:
    """Say what a stage comes to, as far as it is known without a model."""
    parts = [f"{counts['lines']:,} lines"]
    if counts["requests"]:
        most = f", at most {counts['most_tokens_out']:,} tokens back" if counts["most_tokens_out"] else ""
        parts.append(f"{counts['requests']:,} requests of {counts['letters_in']:,} letters{most}")
    if counts["trainings"]:
        parts.append(
            f"{counts['trainings']:,} trainings of {counts['steps']:,} steps on {counts['letters_trained']:,} letters"
        )
    if counts["verdicts"]:
        parts.append(f"at most {counts['verdicts']:,} verdicts")
    return "; ".join(parts)


def describe_forecast(values: Mapping[str, Any]) -> str:
    """Say what a run will cost, or has."""
    return ", ".join(_list_parts(values))


def _list_parts(values: Mapping[str, Any]) -> Iterator[str]:
    yield f"{values['lines']:,} lines"
    if values["requests"]:
        yield f"{values['requests']:,} requests, {values['tokens_in']:,} tokens in, {values['tokens_out']:,} out"
    if values["trainings"]:
        yield f"{values['trainings']:,} trainings, {values['steps']:,} steps, {values['tokens_trained']:,} tokens"
    if values["calls"]:
        yield f"{values['calls']:,} calls, {values['call_tokens_in']:,} tokens in, {values['call_tokens_out']:,} out"
    if values.get("work_s") is not None:
        yield f"{format_seconds(values['load_s'])} to load, {format_seconds(values['work_s'])} of work"
    if values.get("peak_bytes"):
        yield f"{format_size(values['peak_bytes'])} of memory"
    if values.get("device_peak_bytes"):
        yield f"{format_size(values['device_peak_bytes'])} on the GPU"
    disk = (values.get("line_bytes") or 0) + (values.get("model_bytes") or 0)
    yield f"{format_size(disk)} of disk" + (" for lines" if values.get("model_bytes") is None else "")
    if values.get("cost") is not None:
        yield f"cost {values['cost']:.4g}"


def format_seconds(seconds: float) -> str:
    """Write `3.2 s`, `5 min 20 s` or `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60} s"
    return f"{minutes // 60} h {minutes % 60} min"


def format_size(count: float) -> str:
    """Write `0.3 MB` or `4.1 GB`."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
