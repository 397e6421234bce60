"""Counting and timing what the server does, for those who watch it from outside."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nexus_core.domain.operation import Operation, StepName, StepStatus


class Meters(ABC):
    """Takes note of what happens; every method returns at once and raises nothing."""

    @abstractmethod
    def operation_ended(self, operation: Operation, seconds: float) -> None:
        """An operation came to its end, or was given up, ``seconds`` after it was taken up by this process.

        One that another took the place of before it was taken up is not told of.
        """

    @abstractmethod
    def step_ended(self, name: StepName, status: StepStatus, seconds: float) -> None:
        """A step was done, failed, or turned out to have nothing to do."""

    @abstractmethod
    def work_failed(self, code: str) -> None:
        """The provider, the database or something else beneath an operation answered with an error of this code."""


class NoMeters(Meters):
    """Takes no note of anything: for programs that have meters of their own."""

    def operation_ended(self, operation: Operation, seconds: float) -> None: ...

    def step_ended(self, name: StepName, status: StepStatus, seconds: float) -> None: ...

    def work_failed(self, code: str) -> None: ...
