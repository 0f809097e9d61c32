"""Where a grid runs: hosts and the networks that join them."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, model_validator

from ragrid.spec import kinds
from ragrid.spec.section import NotYet, Section

Purpose = Literal["users", "services", "gpu"]
NetworkName = Literal["lan", "swarm", "connectx"]

#: What each network is for unless the grid says otherwise.
USUAL_PURPOSES: dict[NetworkName, Purpose] = {"lan": "users", "swarm": "services", "connectx": "gpu"}


class Host(Section):
    """One machine and its address on each network."""

    lan: kinds.Address = Field(description="Its address on the network that users come from.")
    swarm: kinds.Address | None = Field(default=None, description="Its address on the network between services.")
    connectx: kinds.Address | None = Field(default=None, description="Its address on the fast network between GPUs.")
    gpus: kinds.GpuCount = Field(default=0, description="How many GPUs it has.")


class Network(Section):
    """One network between the hosts."""

    cidr: kinds.Network = Field(description="Its addresses; each host's address on it must be one of them.")
    mtu: Annotated[kinds.Mtu, NotYet()] = Field(default=1500, description="Largest packet, in bytes.")
    encrypted: Annotated[StrictBool, NotYet()] = Field(
        default=False, description="Whether traffic between services on it is encrypted."
    )
    purpose: Purpose = Field(
        alias="for",
        default="services",
        description="What it carries. Default: users on `lan`, services on `swarm`, gpu on `connectx`.",
    )


class Networks(Section):
    """The networks; a host's addresses carry the same names."""

    lan: Network | None = Field(default=None, description="The network that users come from.")
    swarm: Network | None = Field(default=None, description="The network between services.")
    connectx: Network | None = Field(default=None, description="The fast network between GPUs.")

    @model_validator(mode="before")
    @classmethod
    def _fill_purposes(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        usual = {name: purpose for name, purpose in USUAL_PURPOSES.items() if isinstance(value.get(name), dict)}
        return value | {name: {"for": purpose} | value[name] for name, purpose in usual.items()}
