"""The rows of the overview for an incident: what is known, what is down and why, and which alerts fire."""

from grafana.source.dashboard import Row, to_exporter, to_server
from grafana.source.expression import ALERT, JOB_AND_INSTANCE, SAME_SERVER, of_target, rate
from grafana.source.panel import Json, Look, Query, stat
from grafana.source.series import (
    ACTIVE,
    BYTES,
    CONNECTIONS,
    ERROR,
    LAST_DATA,
    LOSS,
    SERVERS,
    TRANSFORMS,
    UP,
)
from grafana.source.table import Column, table
from grafana.source.words import REASONS, RUNBOOK, SEVERITY

_SCRAPED = of_target("up")
_KNOWN = " or ".join(
    f"count by (job, instance) (last_over_time({of_target(metric)}[$__range]))"
    for metric in ("smtpstatus_exporter_build_info", "instance:smtpstatus_up:count")
)
EXPORTERS = f"max by (instance) ({_SCRAPED} and on (job, instance) ({_KNOWN}))"
"""Whether each exporter is reachable, 1 or 0; of jobs that have had series of an exporter."""

_NOW = f'and ignoring (alertstate) ALERTS{{{ALERT},alertstate="firing"}}'
_FIRING = f'(ALERTS_FOR_STATE{{{ALERT},severity="SEVERITY"}} {_NOW})'
_SINCE = f"(ALERTS_FOR_STATE{{{ALERT}}} {_NOW})"
_RANK = " or ".join(
    f"0 * {_FIRING.replace('SEVERITY', name)} + {rank}" for rank, (name, _) in SEVERITY.items()
)
"""The severity as a number, which a table can sort by."""

DOWN_SINCE = f'ALERTS_FOR_STATE{{alertname=~"SmtpstatusTargetDown|SmtpstatusTokenRefused",{JOB_AND_INSTANCE}}}'
"""When each server that is down went down, in Unix seconds."""

_NO_ALERT = "No alert found: none is firing, or prometheus/rules/alerts.yml is not loaded"
_TIME = Look("dateTimeFromNow")


def now() -> Row:
    """Tiles, the first of which say whether the others can be trusted."""
    unread = f"last_over_time({SERVERS}[$__range]) unless on (job, instance) count by (job, instance) ({UP})"
    trust = [
        stat(
            "Exporters",
            "Exporters that Prometheus cannot scrape. While one is down, nothing is known of its servers.",
            Query(f"count({EXPORTERS} == 0) or 0 * count({EXPORTERS})"),
            Look(
                "suffix:down",
                decimals=0,
                steps=((None, "green"), (1, "red")),
                words={"0": ("up", "green")},
            ),
            link=to_exporter(),
        ),
        stat(
            "Last data",
            "The age of the newest sample of any server. More than some scrape intervals: the rest of this "
            "page is old.",
            Query(
                f"round(time() - max(timestamp({UP}) or last_over_time({LAST_DATA}[$__range])))"
            ),
            Look("s", decimals=0, steps=((None, "green"), (90, "orange"), (180, "red"))),
        ),
        stat(
            "Down",
            "Servers that did not answer every request of the last scrape.",
            Query(f"sum(1 - {UP})"),
            Look(steps=((None, "green"), (1, "red"))),
        ),
        stat(
            "Unknown",
            "Servers that are not read: their exporter is not scraped. Requires prometheus/rules/recording.yml.",
            Query(f"sum({unread}) or 0 * count({UP})"),
            Look(steps=((None, "green"), (1, "dark-orange"))),
        ),
    ]
    others = [
        stat(
            "Servers",
            "Servers that are read; one for each exporter that reads it.",
            Query(f"count({UP})"),
            Look(),
        ),
        stat(
            "Off",
            "Servers whose transforms are off.",
            Query(f"sum(1 - {TRANSFORMS})"),
            Look(steps=((None, "green"), (1, "orange"))),
        ),
        stat(
            "Lost",
            "The share of datagrams that were retransmitted, of the servers that are up: 0 on a good "
            "network. Requires prometheus/rules/recording.yml.",
            Query(f"max({LOSS})"),
            Look("percentunit", steps=((None, "green"), (0.05, "orange"), (0.2, "red"))),
        ),
        stat(
            "Rate",
            "SMTP connections accepted per second by all servers, rejected ones included.",
            Query(f"sum({rate(CONNECTIONS)})"),
            Look("suffix:conn/s", decimals=1),
        ),
        stat("Open", "Open SMTP connections of all servers.", Query(f"sum({ACTIVE})"), Look()),
        stat(
            "Bytes",
            "Bytes per second over the SMTP connections of all servers, in both directions.",
            Query(f"sum({rate(BYTES)})"),
            Look("Bps"),
        ),
    ]
    return Row("Now", 3, [*((6, tile) for tile in trust), *((4, tile) for tile in others)])


def incidents() -> list[Row]:
    """What is broken, grouped, and the alerts, the most severe first."""
    return [
        Row("Problems", 8, [(11, _by_reason()), (13, _by_alert())]),
        Row("", 8, [(24, _by_server())]),
    ]


def _by_reason() -> Json:
    down = f"{ERROR} == 1"
    began = f"{DOWN_SINCE} * {SAME_SERVER} group_left (reason) ({down})"
    everyone = f"on ($group) group_left () count by ($group) ({UP})"
    columns = [
        Column("Reason", label="reason", look=Look(words=REASONS), colored=True, width=125),
        Column("Down", f"count by (reason, $group) ({down})", look=Look(), width=65),
        Column(
            "Of",
            f"0 * count by (reason, $group) ({down}) + {everyone}",
            look=Look(),
            width=65,
        ),
        Column("Since", f"min by (reason, $group) ({began}) * 1000", look=_TIME, width=115),
        Column("Latest", f"max by (reason, $group) ({began}) * 1000", look=_TIME, width=115),
    ]
    return table(
        "Down, by reason",
        "Servers that are down, by the reason and by the label chosen above as Group: one row for one incident. "
        "Of: the servers of that group. Since, Latest: when the first and the last of them went down "
        "(requires prometheus/rules/alerts.yml).",
        columns,
        Look(
            empty="No server found that is down; while an exporter is down, nothing is known of its servers"
        ),
        sort=[("Latest", True)],
    )


def _by_alert() -> Json:
    columns = [
        Column(
            "Severity",
            f"max by (alertname) ({_RANK})",
            look=Look(words=SEVERITY),
            colored=True,
            centered=True,
            width=85,
        ),
        Column("Alert", label="alertname", links=[_to_runbook()], width=230),
        Column("Firing", f"count by (alertname) ({_SINCE})", look=Look(), width=70),
        Column("Since", f"min by (alertname) ({_SINCE}) * 1000", look=_TIME, width=115),
        Column("Latest", f"max by (alertname) ({_SINCE}) * 1000", look=_TIME, width=115),
    ]
    return table(
        "Alerts",
        "Firing alerts, with the number of servers. The name of an alert links to its section of the runbook.",
        columns,
        Look(empty=_NO_ALERT),
        sort=[("Severity", False), ("Since", True)],
    )


def _by_server() -> Json:
    columns = [
        Column(
            "Severity",
            _RANK,
            look=Look(words=SEVERITY),
            colored=True,
            centered=True,
            width=85,
        ),
        Column("Alert", label="alertname", links=[_to_runbook()], width=240),
        Column(
            "Server",
            label="target",
            links=[to_server("Server", since="Before"), to_server("Server")],
            width=190,
        ),
        Column("Since", f"max without () ({_SINCE}) * 1000", look=_TIME, width=140),
        Column("Exporter", label="instance", links=[to_exporter()], width=160),
        Column("Before", f"(max without () ({_SINCE}) - 3600) * 1000", hidden=True, width=50),
    ]
    return table(
        "Alerts by server",
        "Firing alerts, the most severe first. A server's name links to its dashboard from an hour before the alert, "
        "or with this page's time range; an alert's name to the runbook.",
        columns,
        Look(empty=_NO_ALERT),
        sort=[("Severity", False), ("Since", True)],
        hidden_labels=["job", "severity"],
    )


def _to_runbook() -> Json:
    return {
        "title": "Runbook",
        "url": f"{RUNBOOK}#${{__data.fields.Alert}}",
        "targetBlank": True,
    }
