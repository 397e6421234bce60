"""A page of metrics, read by Prometheus's own parser."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Scrape:
    """Every family by its name; a counter's is without `_total`."""

    families: dict[str, Metric]

    @classmethod
    def of(cls, families: Iterable[Metric]) -> Scrape:
        """What a parser found."""
        return cls({family.name: family for family in families})

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """The labels and the value of each sample of that name."""
        return [
            (one.labels, one.value) for family in self.families.values() for one in family.samples if one.name == name
        ]

    def values(self, name: str, **labels: str) -> list[float]:
        """The value of each sample of that name that has at least these labels."""
        return [value for found, value in self.samples(name) if labels.items() <= found.items()]

    def value(self, name: str, **labels: str) -> float:
        """The sum of them; nothing is 0."""
        return sum(self.values(name, **labels))

    def labels(self, name: str, label: str) -> set[str]:
        """Every value that the label takes."""
        return {labels[label] for labels, _ in self.samples(name)}


def scrape(page: str) -> Scrape:
    """The page, in Prometheus's text format."""
    return Scrape.of(text_string_to_metric_families(page))
