"""What nodes are told of API keys and of models' names, each as of a version."""

from dataclasses import dataclass, field

from control_service.usecases.resolve_api_key import ResolvedKey


@dataclass(frozen=True, slots=True)
class ApiKeyConfig:
    """What the API key with this SHA-256 opens."""

    sha256: bytes = field(repr=False)
    opens: ResolvedKey
    version: int


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Which model a name means; `model_id` is empty where it means none."""

    text: str
    model_id: str
    version: int
