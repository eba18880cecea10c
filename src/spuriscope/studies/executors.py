"""Where the cells of a study are trained: on this machine, or on a cluster.

An executor has two methods. It trains; it never writes into the store, which the process that drives the
study does alone.
"""

from typing import Protocol

from spuriscope.training import TrainedModel, Trains

__all__ = ["Executor"]


class Executor(Trains[TrainedModel], Protocol):
    """What trains the cells of a study: a `Trainer`, or a cluster."""

    def close(self) -> None:
        """Let go of what it holds."""
        ...
