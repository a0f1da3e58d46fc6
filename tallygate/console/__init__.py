"""The console: pages in the browser, made on the server, for whoever is signed in. It is a client like any other.

A page is a module in `pages/`: a few calls, a template in `templates/`, and no rule of the domain. What one needs to
know:

    async def show_teams(visit: Visit) -> Response:
        answer = await TeamServiceStub(visit.control).ListTeams(pb.ListTeamsRequest(account=visit.account))
        return visit.page("teams.html", teams=answer.teams)

    async def create_team(visit: Visit) -> Response:
        request = pb.CreateTeamRequest(
            name=f"{visit.account}/teams/{visit.form.text('id')}", idempotency_key=visit.idempotency_key
        )
        await TeamServiceStub(visit.control).CreateTeam(request)
        return visit.done("The team is there.", f"/{visit.account}/teams")

    NAV: Final = (Entry("Teams", "/accounts/{account}/teams", Permission.TEAMS_READ),)
    ROUTES: Final = (at("/accounts/{account}/teams", show_teams, create_team),)

and one line in `pages/__init__.py`. Calls raise `CallError`, which nobody needs to catch: a change that was refused
shows the page again with status 4xx, the service's sentence in `errors[""]` and beside the fields, and what was typed
in `visit.form`; a page whose service is away is shown as it was read last. `visit.unless_away(call)` is for what a
page can do without, such as usage. Fields are called as the contract calls them (`terms.term_day_count`), so that
`errors` finds them. `visit.form.number`, `.nanos`, `.texts` and `.has` read them; `visit.may(Permission.X)` says what
to show.

Templates extend `layout.html`, fill the blocks `title` and `main`, and have filters (`show.py`: amount, tokens,
compact, moment, words, enum_name), charts (`charts.py`) and macros (`ui.html`: hidden, refusal, field, choice, tick,
status, confirm, pager). A form is `<form method="post" action="{{ visit.path }}">{{ ui.hidden(visit) }}...`.

- What changes by itself is a block of the template in an element with `data-live="NAME"`; it is read again every
  second (`data-every`, in milliseconds) as `?part=NAME`. Skip calls that `visit.part` does not need. `set` and
  `import` must be inside the block.
- A button that changes something leads to a page of its own that says what it will do: `ui.confirm(path, label)`, and
  a block `confirm` in that page's template, which scripts show in a dialog.
- A page with a secret on it is `visit.secret_page(...)`: no copy is kept, and it is never behind a redirect.
"""
