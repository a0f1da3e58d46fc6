"""Rate rules: so many requests or tokens a period, or at once, by what they hang on."""

from __future__ import annotations

from typing import Final

from google.protobuf.duration_pb2 import Duration
from starlette.responses import Response

from tallygate._access.permission import Permission
from tallygate.console import show
from tallygate.console.limits import PLACE_HINT, place_of, tree_of
from tallygate.console.nav import Entry
from tallygate.console.press import DANGER, Press
from tallygate.console.routes import at
from tallygate.console.visit import Visit
from tallygate.control.v1 import limit_service_pb2 as pb
from tallygate.control.v1.limit_config_pb2 import RateMetric
from tallygate.control.v1.limit_service_pb2_grpc import LimitServiceStub
from tallygate.control.v1.rate_rule_pb2 import RateRule

PAGE_SIZE: Final = 100
"""Maximum number of rules on a page."""
_LIST: Final = "/accounts/{account}/rate-rules"
_RULE: Final = "/accounts/{account}/rate-rules/{rule}"


async def show_rules(visit: Visit) -> Response:
    """A page of rules by what they hang on."""
    request = pb.ListRateRulesRequest(account=visit.account, page_size=PAGE_SIZE, page_token=visit.query("page"))
    answer = await LimitServiceStub(visit.control).ListRateRules(request)
    return visit.page(
        "rate_rules.html",
        tree=tree_of(answer.rate_rules, lambda rule: rule.place),
        next_page=answer.next_page_token,
        may_manage=visit.may(Permission.LIMITS_MANAGE),
    )


async def show_create(visit: Visit) -> Response:
    """The form of a new rule."""
    return visit.page("create_rate_rule.html", metrics=show.enum_choices(RateMetric), place_hint=PLACE_HINT)


async def create(visit: Visit) -> Response:
    """Create it, with a full burst."""
    form = visit.form
    model = form.text("model")
    request = pb.CreateRateRuleRequest(
        name=f"{visit.account}/rateRules/{form.text('name')}",
        place=place_of(visit),
        metric=form.chosen("metric", RateMetric),
        limit_units=form.number("limit_units"),
        period=form.length("period"),
        burst_units=form.number("burst_units"),
        model=f"models/{model.removeprefix('models/')}" if model else "",
        dry_run=form.has("dry_run"),
        idempotency_key=visit.idempotency_key,
    )
    await LimitServiceStub(visit.control).CreateRateRule(request)
    return visit.done("The rate rule is created.", _list(visit))


async def show_edit(visit: Visit) -> Response:
    """The form of a rule that there is."""
    return visit.page("edit_rate_rule.html", rule=await _rule(visit))


async def edit(visit: Visit) -> Response:
    """Change the figures that were changed on the page; what it has counted goes on."""
    form = visit.form
    request = pb.UpdateRateRuleRequest(
        name=_name(visit),
        limit_units=form.number("limit_units") if form.changed("limit_units") else None,
        period=form.length("period") or Duration() if form.changed("period") else None,
        burst_units=form.number("burst_units") if form.changed("burst_units") else None,
        dry_run=form.has("dry_run") if form.changed("dry_run") else None,
        idempotency_key=visit.idempotency_key,
    )
    await LimitServiceStub(visit.control).UpdateRateRule(request)
    return visit.done("The rate rule is changed.", _list(visit))


async def _rule(visit: Visit) -> RateRule:
    request = pb.GetRateRuleRequest(name=_name(visit))
    rule: RateRule = (await LimitServiceStub(visit.control).GetRateRule(request)).rate_rule
    return rule


def _name(visit: Visit) -> str:
    return f"{visit.account}/rateRules/{visit.request.path_params['rule']}"


def _list(visit: Visit) -> str:
    return f"/{visit.account}/rate-rules"


_DELETE: Final = Press(
    path=f"{_RULE}/delete",
    name="accounts/{account}/rateRules/{rule}",
    title="Delete the rate rule {rule}",
    says=("It refuses nothing any more. Nodes know it within half a second.", "Its name is never used again."),
    button="Delete the rate rule",
    done="The rate rule is deleted.",
    back=_LIST,
    stub=LimitServiceStub,
    request=pb.DeleteRateRuleRequest,
    kind=DANGER,
)

NAV: Final = (Entry("Rate rules", _LIST, Permission.LIMITS_READ),)
ROUTES: Final = (
    at(_LIST, show_rules),
    at("/accounts/{account}/create-rate-rule", show_create, create),
    at(f"{_RULE}/edit", show_edit, edit),
    _DELETE.route,
)
