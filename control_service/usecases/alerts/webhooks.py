"""Webhooks: creation, change, rotation of their secrets, deletion, tests."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from control_service.domain.account import Account
from control_service.domain.alert import AlertKind
from control_service.domain.delivery import TEST_NUMBER, Delivery, new_delivery
from control_service.domain.errors import InvalidRequestError, Reason, RefusedError, ResourceNotFoundError
from control_service.domain.names import webhook_name
from control_service.domain.webhook import SALT_BYTES, WEBHOOK_COUNT_MAX, Webhook
from control_service.domain.webhook_secret import WebhookSecrets
from control_service.usecases.idempotent_call import Act
from control_service.usecases.ports import Transaction


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """The settings of a webhook to be created; no kinds are all kinds."""

    webhook_id: str
    url: str
    kinds: frozenset[AlertKind] = frozenset()
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class WebhookUpdate:
    """New settings; None leaves one as it is."""

    url: str | None
    kinds: frozenset[AlertKind] | None
    disabled: bool | None


@dataclass(frozen=True, slots=True)
class SecretRotation:
    """A webhook that shall have another secret, and how long the one before goes on to sign."""

    webhook_id: str
    overlap_us: int


@dataclass(frozen=True, slots=True)
class ShownWebhook:
    """A webhook with the secret that it was just given."""

    webhook: Webhook
    secret: str = field(repr=False)


class SecretMint:
    """Makes secrets of webhooks from random bytes."""

    def __init__(self, secrets: WebhookSecrets | None, random_bytes: Callable[[int], bytes]) -> None:
        """`secrets`: None where the server has no pepper, and signs nothing."""
        self._secrets = secrets
        self._random_bytes = random_bytes

    def new_salt(self) -> bytes:
        """What a new secret is derived from. Raises RefusedError TOKENS_NOT_KEPT."""
        self._required()
        return self._random_bytes(SALT_BYTES)

    def shown(self, webhook: Webhook) -> ShownWebhook:
        """The webhook with its newest secret. Raises RefusedError TOKENS_NOT_KEPT."""
        return ShownWebhook(webhook, self._required().text_of(webhook.uid, webhook.salt))

    def _required(self) -> WebhookSecrets:
        if self._secrets is None:
            message = "This server signs no messages, because it was started without --pepper-file; start it with one."
            raise RefusedError(Reason.TOKENS_NOT_KEPT, message)
        return self._secrets


async def create_webhook(
    tx: Transaction, account: Account, new: NewWebhook, mint: SecretMint, act: Act
) -> ShownWebhook:
    """Adds a webhook, which gets the alerts from now on.

    Raises:
        InvalidRequestError: the account has as many as it can have.
        ResourceExistsError: there is one of its name.
        RefusedError: TOKENS_NOT_KEPT.
    """
    salt = mint.new_salt()
    if len(await tx.webhooks.of_account(account.account_id)) >= WEBHOOK_COUNT_MAX:
        what = f"is of an account that has {WEBHOOK_COUNT_MAX} webhooks, which is the most; delete one first"
        raise InvalidRequestError([("name", what)])
    webhook = Webhook(
        account_id=account.account_id,
        webhook_id=new.webhook_id,
        uid=act.new_id(),
        url=new.url,
        kinds=new.kinds,
        disabled=new.disabled,
        salt=salt,
        create_us=act.now_us,
        update_us=act.now_us,
    )
    await tx.webhooks.add(webhook)
    return mint.shown(webhook)


async def get_webhook(tx: Transaction, account_id: str, webhook_id: str) -> Webhook:
    """The webhook. Raises ResourceNotFoundError."""
    webhook = await tx.webhooks.find(account_id, webhook_id)
    if webhook is None:
        raise ResourceNotFoundError(webhook_name(account_id, webhook_id))
    return webhook


async def update_webhook(
    tx: Transaction, account: Account, webhook_id: str, update: WebhookUpdate, act: Act
) -> Webhook:
    """Changes a webhook. What is on its way to one that is disabled ends. Raises ResourceNotFoundError."""
    webhook = await get_webhook(tx, account.account_id, webhook_id)
    given = {name: getattr(update, name) for name in WebhookUpdate.__slots__}
    changed = replace(
        webhook, update_us=act.now_us, **{name: value for name, value in given.items() if value is not None}
    )
    if changed.disabled:
        await tx.deliveries.cancel(webhook.uid)
    else:
        changed = replace(changed, gone=False)
    await tx.webhooks.save(changed)
    return changed


async def rotate_secret(
    tx: Transaction, account: Account, rotation: SecretRotation, mint: SecretMint, act: Act
) -> ShownWebhook:
    """Gives a webhook another secret; the one before signs as well for a while.

    Raises:
        ResourceNotFoundError: there is no such webhook.
        RefusedError: TOKENS_NOT_KEPT.
    """
    webhook = await get_webhook(tx, account.account_id, rotation.webhook_id)
    rotated = webhook.rotated(mint.new_salt(), rotation.overlap_us, act.now_us)
    await tx.webhooks.save(rotated)
    return mint.shown(rotated)


async def delete_webhook(tx: Transaction, account: Account, webhook_id: str) -> Webhook:
    """Deletes a webhook with its deliveries. Raises ResourceNotFoundError."""
    webhook = await get_webhook(tx, account.account_id, webhook_id)
    await tx.webhooks.delete(webhook)
    return webhook


async def send_test(tx: Transaction, account: Account, webhook_id: str, act: Act) -> Delivery:
    """Sends a message of no alert to a webhook on its way.

    Raises:
        ResourceNotFoundError: there is no such webhook.
        RefusedError: WEBHOOK_DISABLED.
    """
    webhook = await get_enabled(tx, account.account_id, webhook_id)
    delivery = new_delivery(webhook, f"test-{act.new_id()}", TEST_NUMBER, act.now_us)
    await tx.deliveries.put([delivery])
    return delivery


async def get_enabled(tx: Transaction, account_id: str, webhook_id: str) -> Webhook:
    """The webhook, which takes messages. Raises what `send_test` raises."""
    webhook = await get_webhook(tx, account_id, webhook_id)
    if webhook.disabled:
        message = f"{webhook.name} is disabled, and nothing is sent to it; enable it first."
        raise RefusedError(Reason.WEBHOOK_DISABLED, message, resource=webhook.name)
    return webhook
