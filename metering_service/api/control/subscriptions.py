"""What a node says of what it follows: services, credentials, API keys, models; many are put into one message."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from metering_service.api.control.credential_codec import encode_credential
from metering_service.domain.credential import Credential
from tallygate.control.v1 import fleet_service_pb2 as pb

SUBSCRIPTIONS_PER_MESSAGE: Final = 1_000
"""Maximum number of services, and of each other kind, that one message subscribes to."""

Item = TypeVar("Item")


def following(names: Sequence[str]) -> pb.WatchConfigRequest:
    """These services from now on."""
    return pb.WatchConfigRequest(subscription=pb.ConfigSubscription(subscribe=names))


def unfollowing(names: Sequence[str]) -> pb.WatchConfigRequest:
    """These services no longer."""
    return pb.WatchConfigRequest(subscription=pb.ConfigSubscription(unsubscribe=names))


def following_credentials(credentials: Sequence[Credential]) -> pb.WatchConfigRequest:
    """These credentials from now on."""
    encoded = [encode_credential(credential) for credential in credentials]
    return pb.WatchConfigRequest(subscription=pb.ConfigSubscription(subscribe_credentials=encoded))


def unfollowing_credentials(credentials: Sequence[Credential]) -> pb.WatchConfigRequest:
    """These credentials no longer."""
    encoded = [encode_credential(credential) for credential in credentials]
    return pb.WatchConfigRequest(subscription=pb.ConfigSubscription(unsubscribe_credentials=encoded))


def following_keys(keys: Sequence[bytes], models: Sequence[str]) -> pb.WatchConfigRequest:
    """These API keys, by their SHA-256, and models from now on."""
    subscription = pb.ConfigSubscription(subscribe_api_keys=keys, subscribe_models=models)
    return pb.WatchConfigRequest(subscription=subscription)


def unfollowing_keys(keys: Sequence[bytes], models: Sequence[str]) -> pb.WatchConfigRequest:
    """These API keys and models no longer."""
    subscription = pb.ConfigSubscription(unsubscribe_api_keys=keys, unsubscribe_models=models)
    return pb.WatchConfigRequest(subscription=subscription)


def parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """As many at a time as one message takes."""
    for start in range(0, len(items), SUBSCRIPTIONS_PER_MESSAGE):
        yield items[start : start + SUBSCRIPTIONS_PER_MESSAGE]


def gather(messages: Iterable[pb.WatchConfigRequest]) -> list[pb.WatchConfigRequest]:
    """The same in fewer messages: control looks up many as fast as one. Of acknowledgements the last says all."""
    gathered: list[pb.WatchConfigRequest] = []
    acknowledgement: pb.WatchConfigRequest | None = None
    for message in messages:
        if message.HasField("acknowledgement"):
            acknowledgement = message
        elif not (gathered and join(gathered[-1], message)):
            gathered.append(message)
    return gathered if acknowledgement is None else [*gathered, acknowledgement]


def join(message: pb.WatchConfigRequest, later: pb.WatchConfigRequest) -> bool:
    """Put what is said later into a message that says something of the same kind; False where that cannot be.

    Control takes what a message unsubscribes before what it subscribes, so nothing is unsubscribed behind that.
    """
    if not (message.HasField("subscription") and later.HasField("subscription")):
        return False
    said, more = message.subscription, later.subscription
    if any(_sizes(said, _SUBSCRIBING)) and any(_sizes(more, _UNSUBSCRIBING)):
        return False
    # Lists of all kinds together, which a message may have more of: so it stays small.
    if sum(_sizes(said, _LISTS)) + sum(_sizes(more, _LISTS)) > SUBSCRIPTIONS_PER_MESSAGE:
        return False
    said.MergeFrom(more)
    return True


_SUBSCRIBING: Final = ("subscribe", "subscribe_credentials", "subscribe_api_keys", "subscribe_models")
_UNSUBSCRIBING: Final = tuple(f"un{name}" for name in _SUBSCRIBING)
_LISTS: Final = (*_SUBSCRIBING, *_UNSUBSCRIBING)


def _sizes(said: pb.ConfigSubscription, names: Sequence[str]) -> Iterator[int]:
    return (len(getattr(said, name)) for name in names)
