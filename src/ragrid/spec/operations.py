"""How a grid is watched and kept: monitoring, backup."""

from typing import Annotated, Any

from pydantic import Field, StrictBool, model_validator

from ragrid.spec import kinds
from ragrid.spec.section import NotYet, Section
from ragrid.spec.values import Duration, Percentage, Rate, TimeOfDay


class Alerts(Section):
    """Thresholds that wake somebody."""

    cpu: kinds.Percentage = Field(default=Percentage.parse("80%"), description="Processor time used.")
    memory: kinds.Percentage = Field(default=Percentage.parse("85%"), description="Memory used.")
    gpu: kinds.Percentage = Field(default=Percentage.parse("95%"), description="GPU time used.")
    response_time: kinds.Duration = Field(default=Duration.parse("100ms"), description="Mean time to answer.")
    error_rate: kinds.Percentage = Field(default=Percentage.parse("1%"), description="Requests that fail.")


class Objectives(Section):
    """What the grid promises; alerts say when it is being broken."""

    availability: kinds.Percentage = Field(default=Percentage.parse("99.9%"), description="Requests that succeed.")
    latency_mean: kinds.Duration = Field(default=Duration.parse("100ms"), description="Mean time to answer.")
    throughput: Annotated[kinds.Rate, NotYet()] = Field(
        default=Rate.parse("1000/s"), description="Requests that it can carry."
    )
    error_rate: Annotated[kinds.Percentage, NotYet()] = Field(
        default=Percentage.parse("0.1%"), description="Requests that may fail."
    )


class Notify(Section):
    """Who is told."""

    webhook: Annotated[kinds.Secret, NotYet()] = Field(description="Where the address lies that alerts are posted to.")


class Monitoring(Section):
    """Prometheus and what it watches. It always runs."""

    on: tuple[kinds.HostName, ...] = Field(
        default=(), min_length=1, description="Hosts that run Prometheus. Default: the first host."
    )
    port: kinds.Port = Field(default=9090, description="Private port of Prometheus.")
    node_exporter_port: kinds.Port = Field(default=9100, description="Private port of each host's metrics.")
    scrape_interval: kinds.Duration = Field(default=Duration.parse("5s"), description="How often metrics are read.")
    alerts: Alerts = Field(default_factory=Alerts, description="Thresholds that wake somebody.")
    slo: Objectives = Field(default_factory=Objectives, description="What the grid promises.")
    notify: tuple[Notify, ...] = Field(default=(), description="Who is told.")


class Repository(Section):
    """One place that backups go to; a path alone is enough."""

    path: Annotated[kinds.AbsolutePath, NotYet()] = Field(description="Its folder.")
    offsite: Annotated[StrictBool, NotYet()] = Field(default=False, description="Whether it lies in another building.")

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class Backup(Section):
    """Daily backups. None are made when the grid does not name this section."""

    daily: Annotated[kinds.TimeOfDay, NotYet()] = Field(
        default=TimeOfDay.parse("02:30"), description="When, on each host's clock."
    )
    keep: Annotated[kinds.Duration, NotYet()] = Field(
        default=Duration.parse("7d"), description="How long a backup is kept."
    )
    repositories: tuple[Repository, ...] = Field(
        min_length=1, description="Where they go; one of them should be off-site."
    )


class Welcome(Section):
    """What `ragrid up` shows at its end: a question, answered from documents that it ingests first."""

    documents: tuple[kinds.Line, ...] = Field(default=(), description="Files and folders, relative to the grid file.")
    question: kinds.Line | None = Field(default=None, description="The first question.")
