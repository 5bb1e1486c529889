"""The exporter itself: whether the other dashboards can be trusted."""

from grafana.source.dashboard import Row, chained_variables, dashboard
from grafana.source.expression import increase, of_exporter, rate, ratio
from grafana.source.panel import Json, Look, Query, heatmap, stat, time_series
from grafana.source.words import DISCARDS, OUTCOMES, REASONS

INFO = of_exporter("smtpstatus_exporter_build_info")
ROUND_TRIPS = of_exporter("smtpstatus_exporter_round_trip_seconds_bucket")
ROUND_TRIP_SUM = of_exporter("smtpstatus_exporter_round_trip_seconds_sum")
ROUND_TRIP_COUNT = of_exporter("smtpstatus_exporter_round_trip_seconds_count")
REQUESTS = of_exporter("smtpstatus_exporter_requests_total")
FAILURES = of_exporter("smtpstatus_exporter_failures_total")
SENT = of_exporter("smtpstatus_exporter_datagrams_sent_total")
RETRANSMITTED = of_exporter("smtpstatus_exporter_datagrams_retransmitted_total")
DISCARDED = of_exporter("smtpstatus_exporter_datagrams_discarded_total")
IN_FLIGHT = of_exporter("smtpstatus_exporter_scrapes_in_flight")
SHORTAGES = of_exporter("smtpstatus_exporter_shortages_total")
REJECTED = of_exporter("smtpstatus_exporter_scrapes_rejected_total")
RELOADS = of_exporter("smtpstatus_exporter_config_reloads_total")
RELOAD_FAILURES = of_exporter("smtpstatus_exporter_config_reload_failures_total")
LOADED = of_exporter("smtpstatus_exporter_config_last_reload_success_timestamp_seconds")
WRITES = of_exporter("smtpstatus_exporter_writes_total")

BY_INSTANCE = "{{instance}}"


def exporter() -> Json:
    return dashboard(
        "smtpstatus-exporter",
        "SMTPStatus / Exporter",
        "The exporter: round trips, failures, discarded datagrams, its load, and the resources it uses.",
        # Not `job`: the servers' job, which the drop-down would carry over, may be another.
        chained_variables("smtpstatus_exporter_build_info", job="exporter_job"),
        [_now(), _round_trips(), _work(), _network(), _administration(), _process(), _python()],
    )


def _now() -> Row:
    start = of_exporter("process_start_time_seconds")
    known = f"last_over_time({INFO}[$__range])"
    panels = [
        stat(
            "State",
            "Whether Prometheus can scrape the exporter.",
            Query(
                f"min by (instance) ({of_exporter('up')} and on (job, instance) {known})",
                BY_INSTANCE,
            ),
            Look(words={"1": ("up", "green"), "0": ("down", "red")}),
            mode="value_and_name",
        ),
        stat(
            "Servers",
            "Servers in the configuration.",
            Query(of_exporter("smtpstatus_exporter_targets"), BY_INSTANCE),
            Look(),
            mode="value_and_name",
        ),
        stat(
            "Version",
            "The versions of the exporter and of Python.",
            Query(INFO, "{{version}} (Python {{python_version}})"),
            Look(words={"1": ("running", "blue")}),
            mode="name",
        ),
        stat(
            "Reload",
            "Whether the last reload of the configuration succeeded. If not, the previous one stays in use.",
            Query(of_exporter("smtpstatus_exporter_config_last_reload_successful"), BY_INSTANCE),
            Look(words={"1": ("successful", "green"), "0": ("failed", "red")}),
            mode="value_and_name",
        ),
        stat(
            "Loaded",
            "When the configuration in use was loaded.",
            Query(f"{LOADED} * 1000", BY_INSTANCE),
            Look("dateTimeFromNow"),
            mode="value_and_name",
        ),
        stat(
            "Started",
            "When the process started.",
            Query(f"{start} * 1000", BY_INSTANCE),
            Look("dateTimeFromNow"),
            mode="value_and_name",
        ),
    ]
    return Row("Now", 4, [(4, panel) for panel in panels])


def _round_trips() -> Row:
    by_bucket = f"sum by (le) ({rate(ROUND_TRIPS)})"
    quantiles = [
        Query(f"histogram_quantile({quantile}, {by_bucket})", f"quantile {quantile}")
        for quantile in (0.5, 0.9, 0.99)
    ]
    mean = ratio(f"sum({rate(ROUND_TRIP_SUM)})", f"sum({rate(ROUND_TRIP_COUNT)})")
    distribution = heatmap(
        "Round trips",
        "Round-trip times of requests answered on the first transmission: how many for each duration. Two bands: "
        "near and distant servers. A rising band: slower servers or a slower network.",
        Query(f"sum by (le) ({increase(ROUND_TRIPS)})", "{{le}}"),
        Look("s"),
    )
    summary = time_series(
        "Round trips, quantiles and mean",
        "Round-trip times of requests answered on the first transmission, of all servers.",
        [*quantiles, Query(mean, "mean")],
        Look("s"),
    )
    return Row("Round trips", 9, [(12, distribution), (12, summary)])


def _work() -> Row:
    panels = [
        time_series(
            "Reads per second",
            "Reads of a server, and the failed ones.",
            [
                Query(f"sum by (instance) ({rate(REQUESTS)})", BY_INSTANCE),
                Query(f"sum by (instance) ({rate(FAILURES)})", "{{instance}} failed"),
            ],
            Look("reqps"),
        ),
        time_series(
            "Failed reads by reason",
            "Failed reads of a server, by the reason.",
            [Query(f"sum by (reason) ({rate(FAILURES)})", "{{reason}}")],
            Look("reqps", colors={reason: color for reason, (_, color) in REASONS.items()}),
            stacked=True,
        ),
        time_series(
            "Scrape duration",
            "How long Prometheus waited for a response. Near the scrape's timeout: see SmtpstatusExporterSlow.",
            [Query(f"max by (instance) ({of_exporter('scrape_duration_seconds')})", BY_INSTANCE)],
            Look("s"),
        ),
    ]
    return Row("Reads", 9, [(8, panel) for panel in panels])


def _network() -> Row:
    again = ratio(
        f"sum by (instance) ({rate(RETRANSMITTED)})", f"sum by (instance) ({rate(SENT)})"
    )
    panels = [
        time_series(
            "Datagrams per second",
            "Datagrams sent, and the retransmitted ones among them.",
            [
                Query(f"sum by (instance) ({rate(SENT)})", BY_INSTANCE),
                Query(f"sum by (instance) ({rate(RETRANSMITTED)})", "{{instance}} retransmitted"),
            ],
            Look("pps"),
        ),
        time_series(
            "Retransmitted",
            "The share of datagrams that were retransmitted, those to servers that are down included.",
            [Query(again, BY_INSTANCE)],
            Look("percentunit", soft_maximum=0.1),
        ),
        time_series(
            "Discarded by reason",
            "Datagrams received and discarded. Late responses have the reason identifier and are normal; source, "
            "signature and size are a scan, spoofed datagrams, or a sender that speaks another protocol.",
            [Query(f"60 * sum by (reason) ({rate(DISCARDED)})", "{{reason}}")],
            Look("suffix:/min", colors=DISCARDS),
            stacked=True,
        ),
    ]
    return Row("Datagrams", 9, [(8, panel) for panel in panels])


def _administration() -> Row:
    panels = [
        time_series(
            "Writes by outcome",
            "Requests to switch transforms: done, denied without a valid API token, invalid, unsupported by the "
            "server's dialect, or failed between the exporter and the server.",
            [Query(f"sum by (outcome) ({increase(WRITES)})", "{{outcome}}")],
            Look(decimals=0, colors=OUTCOMES),
        ),
        time_series(
            "Reloads",
            "Reloads of the configuration, and the failed ones.",
            [
                Query(increase(RELOADS), BY_INSTANCE),
                Query(increase(RELOAD_FAILURES), "{{instance}} failed"),
            ],
            Look(decimals=0),
        ),
        time_series(
            "Rejected requests",
            "Requests per minute that were rejected: scrapes with 503, because of too many simultaneous ones, and "
            "requests for lack of a resource, by the resource.",
            [
                Query(f"60 * sum({rate(REJECTED)})", "scrapes"),
                Query(f"60 * sum by (resource) ({rate(SHORTAGES)})", "{{resource}}"),
            ],
            Look("suffix:/min"),
        ),
    ]
    return Row("Administration", 9, [(8, panel) for panel in panels])


def _process() -> Row:
    files = f"{of_exporter('process_open_fds')} / {of_exporter('process_max_fds')}"
    panels = [
        time_series(
            "CPU",
            "CPU cores in use; an exporter can use one.",
            [Query(rate(of_exporter("process_cpu_seconds_total")), BY_INSTANCE)],
            Look("percentunit"),
        ),
        time_series(
            "Memory",
            "Resident memory.",
            [Query(of_exporter("process_resident_memory_bytes"), BY_INSTANCE)],
            Look("decbytes"),
        ),
        time_series(
            "Open files and sockets",
            "Open file descriptors as a share of their limit.",
            [Query(files, BY_INSTANCE)],
            Look("percentunit", maximum=1),
        ),
    ]
    return Row("Process", 8, [(8, panel) for panel in panels])


def _python() -> Row:
    generations = f"sum by (generation) ({rate(of_exporter('python_gc_collections_total'))})"
    objects = {
        "collected": of_exporter("python_gc_objects_collected_total"),
        "uncollectable": of_exporter("python_gc_objects_uncollectable_total"),
    }
    panels = [
        time_series(
            "Garbage collections",
            "Garbage collections per second, by generation.",
            [Query(generations, "generation {{generation}}")],
            Look("ops"),
        ),
        time_series(
            "Garbage collector's objects",
            "Objects that the garbage collector found, per second.",
            [
                Query(f"sum by (instance) ({rate(series)})", f"{{{{instance}}}} {name}")
                for name, series in objects.items()
            ],
            Look("suffix:obj/s"),
        ),
        time_series(
            "Scrapes in flight",
            "Requests to /metrics and /probe in progress, the scrape that reads this number included.",
            [Query(IN_FLIGHT, BY_INSTANCE)],
            Look(decimals=0),
        ),
        time_series(
            "Virtual memory",
            "Reserved address space.",
            [Query(of_exporter("process_virtual_memory_bytes"), BY_INSTANCE)],
            Look("decbytes"),
        ),
        stat(
            "Python",
            "The interpreter.",
            Query(of_exporter("python_info"), "{{implementation}} {{version}}"),
            Look(words={"1": ("running", "blue")}),
            mode="name",
        ),
    ]
    return Row("Runtime", 8, [(8, panel) for panel in panels], collapsed=True)
