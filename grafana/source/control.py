"""A table whose actions switch transforms, for those who may edit the dashboard and have the API token."""

from grafana.source.dashboard import (
    Row,
    chained_variables,
    dashboard,
    label_variable,
    query_variable,
    to_server,
)
from grafana.source.expression import JOB_AND_INSTANCE, SAME_SERVER, over_range, unnamed
from grafana.source.panel import Json, Look, Query, state_timeline, text
from grafana.source.table import Column, table
from grafana.source.words import ON_OFF, STATES

SELECTED = f'{{{JOB_AND_INSTANCE},target=~"$target"}}'
UP = f"smtpstatus_up{SELECTED}"
TRANSFORMS = f"smtpstatus_transforms_enabled{SELECTED}"
CHANGED = f"smtpstatus_transforms_changed_timestamp_seconds{SELECTED}"

NONE = "No data: no server of this selection has transforms to switch"
WHO = """\
**Switch on / Switch off** is shown to editors of this dashboard: the roles Editor and Admin, or a user with edit
permission on its folder. Viewers see the states only. Each switch asks for the exporter's **API token** and for a
confirmation. *Exporter's address* above must be one that your browser reaches; select or type it.
docs/dashboards.md explains the configuration."""
ERRORS = (
    "The browser sends the request to the exporter. 401: wrong API token. 403: the exporter has no API token "
    "configured. 501: the dialect of the server has no such switch. 502, 504: the server rejected it or did not "
    "answer. No status at all: a wrong address, or this Grafana's address is missing in api.cors_origins of the "
    "exporter's configuration. The state is read from the server at the next scrape."
)


def control() -> Json:
    switchable = f"smtpstatus_transforms_enabled{{{JOB_AND_INSTANCE}}}"
    variables = [
        *chained_variables("smtpstatus_transforms_enabled"),
        label_variable("target", "Server", switchable),
        _address(),
    ]
    states = state_timeline(
        "Transforms",
        "When messages were transformed, as read from the servers.",
        [Query(TRANSFORMS)],
        Look(words=ON_OFF, empty=NONE),
        page=10,
    )
    return dashboard(
        "smtpstatus-control",
        "SMTPStatus / Control",
        "Switches the transforms of mail servers, by requests of the browser to the exporter's API.",
        variables,
        [
            Row("Switch", 14, [(24, _switches())]),
            Row("", 4, [(24, text("Who may switch", WHO))]),
            Row("History", 12, [(24, states)]),
        ],
        period="now-15m",
        refresh="5s",
    )


def _switches() -> Json:
    known = over_range("last_over_time", TRANSFORMS)
    state = f"{unnamed(UP)} and {SAME_SERVER} {known} or 0 * {known} - 1"
    columns = [
        Column("Server", label="target", links=[to_server("Server")], width=260),
        Column(
            "State",
            state,
            look=Look(words=STATES),
            colored=True,
            centered=True,
            width=100,
        ),
        Column(
            "Transforms",
            unnamed(TRANSFORMS),
            look=Look(words=ON_OFF),
            colored=True,
            centered=True,
            width=120,
        ),
        Column("Switched", f"{CHANGED} * 1000", look=Look("dateTimeFromNow"), width=180),
        Column(
            "Switch",
            state,
            width=190,
            actions=[_action(True), _action(False)],
        ),
    ]
    return table(
        "Servers that can be switched",
        ERRORS,
        columns,
        Look(empty=NONE),
        sort=[("Server", False)],
        rows=unnamed(known),
    )


def _action(enabled: bool) -> Json:
    word = "on" if enabled else "off"
    return {
        "type": "fetch",
        "title": f"Switch {word}",
        "confirmation": f"Switch the transforms of ${{__data.fields.Server}} {word}?",
        "oneClick": False,
        "style": {"backgroundColor": "#1a7f37" if enabled else "#9a6700"},
        # Requested for each action and stored nowhere: every viewer could read a token in the dashboard.
        "variables": [{"key": "token", "name": "API token", "type": "string"}],
        "fetch": {
            "method": "PUT",
            "url": "${exporter_api}/api/v1/targets/${__data.fields.Server:percentencode}/transforms",
            "body": f'{{"enabled": {str(enabled).lower()}}}',
            "queryParams": [],
            "headers": [["Content-Type", "application/json"], ["Authorization", "Bearer $token"]],
        },
    }


def _address() -> Json:
    """What exporters state as their external URL; without one, the default port of this host."""
    info = 'last_over_time(smtpstatus_exporter_build_info{instance=~"$instance"}[1h])'
    query = f'query_result(label_replace({info}, "external_url", "http://localhost:17030", "external_url", ""))'
    chosen = query_variable(
        "exporter_api", "Exporter's address, as this browser reaches it", query, 3
    )
    return chosen | {
        "regex": '/external_url="([^"]+?)\\/?"/',
        "allowCustomValue": True,
        # A link must not be able to send the API token elsewhere.
        "skipUrlSync": True,
    }
