"""A table whose actions switch the transforms, for those who may edit the dashboard and have the API token."""

from grafana.source.dashboard import Row, chained_variables, dashboard, to_server
from grafana.source.expression import of_target, unnamed
from grafana.source.panel import Column, Json, Look, Query, state_timeline, table
from grafana.source.words import ON_OFF, UP_DOWN

UP = of_target("smtpstatus_up")
TRANSFORMS = of_target("smtpstatus_transforms_enabled")
CHANGED = of_target("smtpstatus_transforms_changed_timestamp_seconds")


def control() -> Json:
    variables = [*chained_variables("smtpstatus_transforms_enabled", target="all"), _address()]
    states = state_timeline(
        "Transforms",
        "When mails were transformed, as the servers say.",
        [Query(TRANSFORMS)],
        Look(words=ON_OFF, empty="No data: no server here answers the command for its transforms"),
    )
    return dashboard(
        "smtpstatus-control",
        "SMTPStatus / Control",
        "Switches the transforms of mail servers. The browser asks the exporter itself: the exporter's "
        "configuration must list this Grafana's address under api.cors_origins, and the API token is asked for.",
        variables,
        [Row("Switch", 14, [(24, _switches())]), Row("History", 8, [(24, states)])],
    )


def _switches() -> Json:
    columns = [
        Column("Server", label="target", link=to_server("Server"), width=240),
        Column("State", unnamed(UP), look=Look(words=UP_DOWN), colored=True, width=100),
        Column(
            "Transforms", unnamed(TRANSFORMS), look=Look(words=ON_OFF), colored=True, width=120
        ),
        Column("Switched", f"{CHANGED} * 1000", look=Look("dateTimeFromNow"), width=200),
        Column("Switch", unnamed(TRANSFORMS), actions=[_action(True), _action(False)]),
    ]
    return table(
        "Servers that can be switched",
        "Each switch asks for the API token and for confirmation. Only those who may edit this dashboard see the "
        "switches; the state is read from the server at the next scrape.",
        columns,
        Look(empty="No data: no server here answers the command for its transforms"),
        sort="Server",
    )


def _action(enabled: bool) -> Json:
    word = "on" if enabled else "off"
    return {
        "type": "fetch",
        "title": f"Switch {word}",
        "confirmation": f"Switch the transforms of ${{__data.fields.Server}} {word}?",
        "oneClick": False,
        "style": {"backgroundColor": "#1a7f37" if enabled else "#9a6700"},
        # Asked for before each request, and kept nowhere: a token in the dashboard could be read by every viewer.
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
    address = "http://localhost:17030"
    return {
        "type": "textbox",
        "name": "exporter_api",
        "label": "Exporter's address, as this browser reaches it",
        "query": address,
        "current": {"text": address, "value": address},
        "options": [],
        "hide": 0,
        # Or a link could make an editor send the API token elsewhere.
        "skipUrlSync": True,
    }
