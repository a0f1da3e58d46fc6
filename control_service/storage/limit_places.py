"""What limits hang on, as columns of their rows."""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, RowMapping, Table, and_, or_, select

from control_service.domain.limit import Place, PlaceKind
from control_service.storage import key_schema, schema
from control_service.usecases.limit_ports import LimitFilter

_services = schema.services
_keys = key_schema.api_keys


def place_values(place: Place) -> dict[str, str]:
    """The columns of a place."""
    return {
        "account_id": place.account_id,
        "place_kind": place.kind,
        "place_id": place.resource_id,
        "place_uid": place.uid,
    }


def place_of(row: RowMapping) -> Place:
    """The place in a row."""
    return Place(PlaceKind(row["place_kind"]), row["account_id"], row["place_id"], row["place_uid"])


def hangs_on(table: Table, place: Place) -> ColumnElement[bool]:
    """Whether a limit hangs on this, and is not deleted."""
    return and_(
        table.c.account_id == place.account_id,
        table.c.place_kind == place.kind,
        table.c.place_uid == place.uid,
        table.c.place_id == place.resource_id,
        table.c.delete_us.is_(None),
    )


def is_wanted(table: Table, wanted: LimitFilter) -> ColumnElement[bool]:
    """Whether a limit of the account, or of models, is one of those to list."""
    return and_(*_conditions(table, wanted))


def _conditions(table: Table, wanted: LimitFilter) -> Iterator[ColumnElement[bool]]:
    yield table.c.account_id == wanted.subject.account_id
    yield table.c.delete_us.is_(None)
    if wanted.place is not None:
        yield hangs_on(table, wanted.place)
    if wanted.team_ids is not None:
        services, keys = (
            select(of.c.uid).where(of.c.account_id == wanted.subject.account_id, of.c.team.in_(wanted.team_ids))
            for of in (_services, _keys)
        )
        yield or_(
            and_(table.c.place_kind == PlaceKind.TEAM, table.c.place_uid.in_(wanted.team_ids)),
            and_(table.c.place_kind == PlaceKind.SERVICE, table.c.place_uid.in_(services)),
            and_(table.c.place_kind == PlaceKind.KEY, table.c.place_uid.in_(keys)),
        )
