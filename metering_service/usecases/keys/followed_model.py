"""One model's name as end users write it, and what it stands for."""

from metering_service.usecases.keys.followed import Followed


class FollowedModel(Followed[str]):
    """A name. `model`: the resource name of the model; empty where it is none."""

    __slots__ = ("model",)

    def __init__(self, name: str, now_ns: int) -> None:
        super().__init__(name, now_ns)
        self.model = ""
