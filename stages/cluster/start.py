"""Start Ray on this machine or join a cluster, and see what workers there can get of it."""

import os
import secrets
import signal
import socket
from collections.abc import Iterator
from typing import Any

from stages.cluster.settings import Cluster
from stages.errors import BadConfig, Unavailable

_KNOCK_S = 10.0  # until an address that does not answer is given up
_BRIEF = {"RAY_NUM_REDIS_GET_RETRIES": "1", "RAY_py_gcs_connect_timeout_s": "3"}  # else Ray knocks for 14 minutes
_OWN = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # 0: the loopback is a node's only address
_OBJECT_BYTES = 200 * 2**20  # of the cluster that is started here: lines alone go through its memory


def import_ray() -> Any:
    """Return the module, which takes a second to load."""
    import ray

    return ray


def start_ray(cluster: Cluster) -> Any:
    """Start Ray on this machine, or join the cluster at the address. Raises Unavailable where there is none.

    Raises BadConfig where this machine is all there is, and no worker will ever get its shares of it.
    """
    own: dict[str, Any] = {}
    _knock(cluster)
    usual = {"RAY_USAGE_STATS_ENABLED": "0"}
    if cluster.address == "local":  # only this machine can reach it, and only who knows the word
        usual |= _OWN | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
        own = {"object_store_memory": _OBJECT_BYTES, "include_dashboard": False}
    else:
        usual |= _BRIEF
    os.environ.update({name: value for name, value in usual.items() if name not in os.environ})
    ray = import_ray()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(cluster.address, log_to_driver=False, configure_logging=False, **own)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        told = " ".join(str(error).split())  # other versions of Ray and Python are told in six lines
        raise Unavailable(f"--ray {cluster.address}: {told}") from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)  # Ray puts its own there
    if cluster.address == "local" and not _has_room(ray, cluster):
        told = describe_room(ray, cluster)
        ray.shutdown()
        raise BadConfig(f"--ray local: {told}; give workers less")
    return ray


def _knock(cluster: Cluster) -> None:
    """Raise Unavailable if nobody listens at the address: Ray itself would try for minutes."""
    host, _, port = (cluster.address or "").rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
    except OSError as error:
        raise Unavailable(
            f"--ray {cluster.address}: no cluster there ({error.strerror or error}); "
            "start one with `ray start --head`, or give --ray local"
        ) from None


def find_reason(error: Exception) -> str:
    """Return what an error says at its end: of one with a trace, the reason."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()


# ---- what there is for workers


def count_room(ray: Any, cluster: Cluster) -> int:
    """Return how many workers the nodes have room for, at least one."""
    room = 0
    for node in _list_resources(ray):
        room += min((int(node.get(kind, 0) / share) for kind, share in cluster.shares.items() if share), default=1)
    return max(1, room)


def _has_room(ray: Any, cluster: Cluster) -> bool:
    """True if one of the nodes has what a worker wants."""
    nodes = _list_resources(ray)
    return any(all(node.get(kind, 0) >= share for kind, share in cluster.shares.items()) for node in nodes)


def _list_resources(ray: Any) -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def describe_room(ray: Any, cluster: Cluster) -> str:
    """Say what a worker wants, and what the nodes have."""
    most = {kind: max((node.get(kind, 0) for node in _list_resources(ray)), default=0) for kind in cluster.shares}
    free = ray.available_resources()
    return (
        f"each worker wants {cluster.cpus_per_worker:g} CPUs and {cluster.gpus_per_worker:g} GPUs, a node has "
        f"{most['CPU']:g} and {most['GPU']:g} at most, and {free.get('CPU', 0):g} and {free.get('GPU', 0):g} are free"
    )


def note_shares(ray: Any, cluster: Cluster) -> Iterator[str]:
    """Say what users should know of what their workers get."""
    if not _has_room(ray, cluster):
        yield f"{describe_room(ray, cluster)}; waiting for a node that has them"
    gpus = sum(node.get("GPU", 0) for node in _list_resources(ray))
    if gpus and not cluster.gpus_per_worker:
        yield f"note: the cluster has {gpus:g} GPUs, and --gpus-per-worker 0 leaves them alone"
