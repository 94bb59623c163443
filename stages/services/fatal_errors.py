"""Answers that end the run, because every other call would get the same: each names the value and the next move."""

from stages.errors import BadConfig, Denied, SealError
from stages.services.base import Call
from stages.services.endpoint import KEY_NAME, get_corrected_base
from stages.services.redaction import quote_line

_WRONG_ADDRESS = (404, 405, 410)


def refused(base: str, key: str | None, call: Call, status: int, found: str, location: str) -> SealError | None:
    """None: the answer concerns this call alone, or may pass. `found` is the status with the server's words."""
    if status in (401, 402, 403):
        return _denied(base, key, status, found)
    if 300 <= status < 400:
        target = quote_line(location, key) or "nowhere"
        return BadConfig(f"{base}: redirects to {target} (status {status}); give that address as --base-url")
    return _missing(base, call, found) if status in _WRONG_ADDRESS else None


def _denied(base: str, key: str | None, status: int, found: str) -> Denied:
    if not key:
        return Denied(f"{base}: asks for a key, and {KEY_NAME} is not set ({found}); export {KEY_NAME}=…")
    if status == 402:
        return Denied(f"{base}: no credit is left for the key in {KEY_NAME} ({found}); add some, or export another key")
    if status == 403:
        return Denied(f"{base}: does not allow this to the key in {KEY_NAME} ({found}); export {KEY_NAME}=… (another)")
    return Denied(f"{base}: refuses the key in {KEY_NAME} ({found}); export {KEY_NAME}=… (a valid one)")


def _missing(base: str, call: Call, found: str) -> BadConfig:
    """Whether the model or the path is not there: a server that knows the path names the model in its words."""
    model = str(call.body.get("model", ""))
    if model and "model" in found.lower():
        return BadConfig(f"{base}: has no model {model} ({found}); give one of its own as --model: curl {base}/models")
    if other := get_corrected_base(base):
        return BadConfig(f"{base}: has no {base}/{call.path} ({found}); give --base-url {other}")
    advice = f"correct --base-url or --model {model}, see what is there: curl {base}/models"
    return BadConfig(f"{base}: has no {base}/{call.path} ({found}); {advice}")
